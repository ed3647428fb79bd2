"""Samples kept apart, and the mosaic that does best on them."""

import torch
from fit_states import small_state

from momos_compress.calibration.alternation import first_pass, improve
from momos_compress.calibration.validation import Kept


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
