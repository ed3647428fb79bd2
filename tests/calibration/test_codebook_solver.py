"""The motifs that a mosaic is best served by."""

import pytest
import torch
from fit_states import distortion_of, small_state, untold

from momos_compress.calibration.alternation import first_pass
from momos_compress.calibration.codebook_solver import descent_direction, preconditioner, solved_codebook

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_codebook_is_solved_downhill() -> None:
    fit = small_state(rate_weight=0.0)
    first_pass(fit, untold)
    before, start = distortion_of(fit), fit.codebook.clone()
    fit.codebook = solved_codebook(fit)
    after = distortion_of(fit)
    assert after < before
    assert not torch.equal(start, fit.codebook)
    assert not fit.codebook[0].any()
    for _ in range(20):
        fit.codebook = solved_codebook(fit)
    best = distortion_of(fit)
    assert best <= after * (1 + 1e-6)
    # At the least distortion no motif but the fixed one is pulled anywhere.
    steepest = descent_direction(fit, fit.codebook, targets=True)[1:].abs().max()
    assert float(steepest) < 1e-2 * float(descent_direction(fit, start, targets=True)[1:].abs().max())
    for _ in range(5):
        elsewhere = fit.codebook + 0.01 * torch.randn_like(fit.codebook)
        elsewhere[0] = 0
        assert distortion_of(fit, elsewhere) > best


def test_the_preconditioner_inverts_each_motifs_own_second_derivative() -> None:
    fit = small_state(k=12)
    first_pass(fit, untold)
    inverse = preconditioner(fit).double()
    for motif in range(12):
        own = torch.zeros(4, 4).double()
        for layer in fit.layers:
            for g, row, j in (layer.indices == motif).nonzero().tolist():
                at = slice(4 * j, 4 * j + 4)
                part = fit.moments[layer.name][g, at, at].double() if layer.correlated else torch.eye(4).double()
                own += float(layer.weights[g, row]) * part
        if own.any():
            torch.testing.assert_close(inverse[motif] @ own, torch.eye(4).double(), rtol=0.02, atol=0.02)
