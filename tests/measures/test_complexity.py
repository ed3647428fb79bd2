"""One pass over a network against each measure on its own, and the baselines it is compared with."""

import bz2
import gzip
import lzma
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint, minilm_directory, shared

from momos_compress import MomosError, open_checkpoint
from momos_compress.measures.bdm import matrix_bdm, qubd, sign_bdm, windowed_bdm
from momos_compress.measures.complexity import Complexity
from momos_compress.measures.one_pass import measure
from momos_compress.measures.settings import MeasureSettings
from momos_compress.sources.baseline import (
    Baseline,
    baseline_tensors,
    choose_baseline,
    measured_names,
    shuffled_baseline,
)


def network(seed: int = 0) -> dict[str, torch.Tensor]:
    """Shapes that do not divide into blocks, zeros, a bias, a tensor too narrow for matrices."""
    g = torch.Generator().manual_seed(seed)
    state = {
        "conv": torch.randn(18, 3, 5, 5, generator=g),
        "bias": torch.randn(7, generator=g),
        "narrow": torch.randn(3, 50, generator=g),
        "linear": torch.randn(66, 70, generator=g),
        "scalar": torch.tensor(2.0),
    }
    state["linear"][:, ::3] = 0
    return state


def test_a_pass_gives_what_each_measure_gives() -> None:
    state = network()
    found = measure(state.items(), MeasureSettings(planes=5, percentile=99.0, rates="all"))
    total, own = found.total, {layer.name: layer.complexity for layer in found.layers}
    matrices = [state[name].reshape(len(state[name]), -1) for name in ("conv", "linear")]
    assert total.weights == sum(t.numel() for t in state.values())
    assert total.sign == pytest.approx(sign_bdm(list(state.values())), rel=1e-12)
    assert total.windowed == pytest.approx(windowed_bdm(list(state.values())), rel=1e-12)
    assert total.matrix == pytest.approx(sum(matrix_bdm(m > 0) for m in matrices), rel=1e-12)
    planes = np.sum([qubd(m, 5, 99.0) for m in matrices], axis=0)
    assert total.qubd == pytest.approx(planes, rel=1e-12)
    assert total.value("qubd") == pytest.approx(planes.sum(), rel=1e-12)
    flat = torch.cat([t.reshape(-1) for t in state.values()])
    assert total.sparsity == pytest.approx(float((flat == 0).double().mean()))
    assert total.l2 == pytest.approx(float(flat.double().norm()), rel=1e-9)
    raw, bits = flat.numpy().tobytes(), np.packbits(flat.numpy() > 0).tobytes()
    for rates, data in ((total.raw_rates, raw), (total.sign_rates, bits)):
        assert rates is not None
        assert rates["bz2"] == len(bz2.compress(data, 9)) / len(data)
        assert rates["lzma"] == len(lzma.compress(data, preset=9)) / len(data)
        assert rates["gzip"] == pytest.approx(len(gzip.compress(data, 9)) / len(data), abs=20 / len(data))
    assert own["conv"].sign == pytest.approx(sign_bdm(state["conv"]), rel=1e-12)
    assert own["conv"].qubd == pytest.approx(qubd(state["conv"], 5, 99.0), rel=1e-12)
    assert own["narrow"].matrix is own["narrow"].qubd is own["bias"].matrix is None
    assert own["bias"].sign is own["scalar"].windowed is None
    assert own["linear"].sparsity == pytest.approx(24 / 70)


def test_the_order_and_the_cut_matter_only_where_they_should() -> None:
    state = network()
    whole = measure(state.items()).total
    back = measure(reversed(state.items())).total
    assert whole.sign != back.sign  # of a concatenation
    assert (whole.windowed, whole.qubd) == (pytest.approx(back.windowed), pytest.approx(back.qubd))


def test_nothing_to_measure_is_told_from_zero() -> None:
    total = measure([("bias", torch.ones(11))]).total
    assert (total.sign, total.windowed, total.matrix, total.qubd) == (None, None, None, None)
    assert total.value("qubd") is None
    assert measure([]).total.weights == 0


def test_a_tensor_with_nan_is_named() -> None:
    with pytest.raises(MomosError, match=r"^broken \[4, 4\]: NaN or infinite"):
        measure([("broken", torch.full((4, 4), torch.nan))])


def test_a_record_survives_json() -> None:
    total = measure(network().items(), MeasureSettings(rates="all")).total
    record = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(total).items()}
    assert Complexity.from_json({**record, "from a later version": 1}) == total


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_shuffling_keeps_each_tensors_values_and_loses_their_order(dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in network().items()}
    checkpoint = memory_checkpoint(state)
    copies = dict(baseline_tensors(checkpoint, shuffled_baseline(3)))
    assert list(copies) == list(state)
    for name, tensor in state.items():
        assert copies[name].shape == tensor.shape
        assert copies[name].dtype == dtype
        assert torch.equal(copies[name].reshape(-1).sort().values, tensor.reshape(-1).sort().values)
    assert not torch.equal(copies["linear"], state["linear"])
    again = dict(baseline_tensors(checkpoint, shuffled_baseline(3)))
    other = dict(baseline_tensors(checkpoint, shuffled_baseline(4)))
    assert all(torch.equal(again[name], copies[name]) for name in state)
    assert not torch.equal(other["linear"], copies["linear"])
    assert torch.equal(checkpoint.read("linear"), state["linear"])  # the original is as it was


def test_copies_have_the_networks_names_and_shapes() -> None:
    checkpoint = open_checkpoint("digits")
    baseline = choose_baseline(checkpoint, seed=1)
    assert baseline.kind == "initialiser"
    shapes = {info.name: info.shape for info in checkpoint.tensors.infos}
    copies = list(baseline_tensors(checkpoint, baseline))
    assert tuple(name for name, _ in copies) == measured_names(checkpoint)
    assert all(tuple(tensor.shape) == shapes[name] for name, tensor in copies)


def ratio(source: str, measure_name: str, baseline: str, seeds: int = 3) -> float:
    checkpoint = open_checkpoint(source)
    settings = MeasureSettings(rates="none")
    own = measure(((n, checkpoint.read(n)) for n in measured_names(checkpoint)), settings).total.value(measure_name)
    values = []
    for seed in range(seeds):
        chosen = shuffled_baseline(seed) if baseline == "shuffled" else Baseline("gaussian", seed, "")
        other = measure(baseline_tensors(checkpoint, chosen), settings).total.value(measure_name)
        assert own is not None
        assert other
        values.append(own / other)
    return math.fsum(values) / seeds


@pytest.mark.parametrize(
    ("name", "baseline", "expected"),
    [("sign", "gaussian", 0.905), ("sign", "shuffled", 0.910), ("windowed", "gaussian", 0.887)],
)
def test_ratios_of_a_published_resnet20(name: str, baseline: str, expected: float) -> None:
    # Known values of these weights, to the digits that are known.
    assert ratio(str(shared("resnet20_cifar10.safetensors")), name, baseline) == pytest.approx(expected, abs=0.0015)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "expected", "digit"), [("sign", 0.99985, 1e-5), ("windowed", 0.993, 1.5e-3)])
def test_ratios_of_a_published_minilm(name: str, expected: float, digit: float) -> None:
    assert ratio(str(minilm_directory()), name, "gaussian", 1) == pytest.approx(expected, abs=digit)


def test_integers_are_no_weights() -> None:
    with pytest.raises(MomosError, match=r"^steps \[2\]: weights are floating-point numbers, not int64; leave it out$"):
        measure([("w", torch.ones(20)), ("steps", torch.tensor([1, 2]))])
