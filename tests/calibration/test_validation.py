"""Samples kept apart, and the mosaic that does best on them."""

import pytest
import torch
from fit_states import small_state
from torch import nn

from momos_compress.calibration.alternation import first_pass, improve
from momos_compress.calibration.validation import Kept, Validation


def test_the_loss_is_the_mean_over_samples_of_the_divergence() -> None:
    torch.manual_seed(0)
    original, other = nn.Linear(6, 4), nn.Linear(6, 4)
    inputs = torch.randn(10, 6)
    with torch.no_grad():
        batches = [inputs[:7], inputs[7:]]
        validation = Validation(list(batches), [original(batch) for batch in batches], "cpu")
        p, q = (network(inputs).double().log_softmax(1) for network in (original, other))
    assert validation.loss(original) == pytest.approx(0, abs=1e-6)
    assert validation.loss(other) == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-4)


def test_what_was_kept_comes_back() -> None:
    state = small_state()
    first_pass(state, lambda done: None)
    before = [layer.indices.clone() for layer in state.layers], state.codebook.clone()
    kept = Kept.of(state, 1.0)
    improve(state, lambda done: None)
    assert any(not torch.equal(layer.indices, old) for layer, old in zip(state.layers, before[0], strict=True))
    kept.restore(state)
    assert all(torch.equal(layer.indices, old) for layer, old in zip(state.layers, before[0], strict=True))
    assert torch.equal(state.codebook, before[1])
