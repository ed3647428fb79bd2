"""Weights whose errors would cost more than their bits."""

import math

import pytest
from fit_states import distortion_of, small_state, untold

from momos_compress.calibration.alternation import first_pass
from momos_compress.calibration.objective import dearer_than

pytestmark = pytest.mark.usefixtures("one_thread")


def test_layers_are_dearer_than_their_bits_where_their_error_is() -> None:
    fit = small_state()
    first_pass(fit, untold)
    whole = {layer.name: 32 * math.prod(layer.shape) for layer in fit.layers}
    assert dearer_than(fit, whole) == []
    before = distortion_of(fit)
    fit.layers[1].weights *= 1000
    assert distortion_of(fit) > 100 * before
    assert dearer_than(fit, whole) == ["grouped"]
    assert len(dearer_than(fit, dict.fromkeys(whole, 0))) == 2  # never all of them
    blocks = fit.blocks
    fit.leave_out("grouped")
    assert [layer.name for layer in fit.layers] == ["dense", "table"]
    assert int(fit.usage().sum()) == fit.blocks < blocks
    fit.price = 0.0  # bits that cost nothing buy nothing either
    assert dearer_than(fit, dict.fromkeys(whole, 0)) == []
