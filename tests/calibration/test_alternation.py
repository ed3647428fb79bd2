"""Mosaic and codebook improved in turn."""

import math

import pytest
import torch
from fit_states import distortion_of, entropy_of, objective, small_state, untold

from momos_compress.calibration import search
from momos_compress.calibration.alternation import drop_unused, first_pass, improve
from momos_compress.calibration.kernels import available
from momos_compress.calibration.state import FitState

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("rate_weight", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("near", [False, True])
def test_no_round_raises_the_objective(rate_weight: float, near: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ALL_MOTIFS", 8 if near else 10**9)
    monkeypatch.setattr(search, "CANDIDATES", 8)
    if near:
        monkeypatch.setattr(available, "numba_loads", lambda: False)
    fit = small_state(rate_weight=rate_weight)
    first_pass(fit, untold)
    for _ in range(5):
        drop_unused(fit)  # as the round does at first, for it renumbers the motifs
        if near and len(fit.codebook) <= 8:
            break
        bits = fit.rate.bits.clone()  # motifs and mosaic are chosen at these, which are then counted anew
        before = objective(fit, bits)
        improve(fit, untold)
        assert objective(fit, bits) <= before * (1 + 1e-5)


def ideal(fit: FitState) -> float:
    """J with the entropy of the mosaic, and without the codebook."""
    return distortion_of(fit) + fit.price * entropy_of(fit)


@pytest.mark.parametrize("rate_weight", [0.5, 2.0])
def test_counting_the_bits_anew_raises_nothing_either_where_motifs_are_free(rate_weight: float) -> None:
    fit = small_state(rate_weight=rate_weight, motif_bits=0.0)
    first_pass(fit, untold)
    for _ in range(6):
        before = ideal(fit)
        improve(fit, untold)
        # Shares are counted with half a block more for each motif, so that none has infinitely many bits.
        slack = fit.price * 0.5 * len(fit.codebook) / math.log(2)
        assert ideal(fit) <= before + slack


@pytest.mark.parametrize("zero_motif", [True, False])
def test_the_zero_motif_stays_zero_if_there_is_one(zero_motif: bool) -> None:
    fit = small_state(zero_motif=zero_motif)
    first_pass(fit, untold)
    for _ in range(4):
        improve(fit, untold)
        assert bool(fit.codebook[0].any()) is not zero_motif


def test_motifs_that_nothing_uses_are_dropped_but_for_zero() -> None:
    far = torch.cat([torch.zeros(1, 4), torch.full((3, 4), 100.0), torch.randn(8, 4) + 2])
    fit = small_state(codebook=far, rate_weight=0.0)
    first_pass(fit, untold)
    for layer in fit.layers:
        layer.indices[layer.indices == 0] = 5
    used = int((fit.usage() > 0).sum())
    before = [layer.decoded(fit.codebook) for layer in fit.layers]
    drop_unused(fit)
    assert len(fit.codebook) == used + 1
    assert not fit.codebook[0].any()
    assert all(torch.equal(a, layer.decoded(fit.codebook)) for a, layer in zip(before, fit.layers, strict=True))
    assert len(fit.rate.bits) == len(fit.codebook)


@pytest.mark.parametrize("k", [1, 2])
def test_very_few_motifs(k: int) -> None:
    fit = small_state(k=k)
    first_pass(fit, untold)
    for _ in range(2):
        improve(fit, untold)
    assert bool(torch.isfinite(fit.codebook).all())
    assert fit.usage().sum() == fit.blocks == sum(layer.indices.numel() for layer in fit.layers)


def final(rate_weight: float, **options: int) -> tuple[float, float]:
    """Distortion, and bits a block."""
    fit = small_state(rate_weight=rate_weight, k=64, **options)
    first_pass(fit, untold)
    for _ in range(5):
        improve(fit, untold)
    return distortion_of(fit), entropy_of(fit) / fit.blocks


def test_more_weight_on_the_rate_gives_fewer_bits_and_more_distortion() -> None:
    found = [final(weight) for weight in (0.0, 0.5, 1.0, 2.0, 5.0, 100.0)]
    distortions, bits = zip(*found, strict=True)
    assert list(distortions) == sorted(distortions)
    assert list(bits) == sorted(bits, reverse=True)
    assert bits[-1] < 0.5 * bits[0]


def test_the_same_start_gives_the_same_end() -> None:
    assert final(1.0) == final(1.0)
    assert final(1.0) != final(1.0, seed=1)
