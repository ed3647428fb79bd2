"""Steps by water-filling against the theory that they come from."""

import pytest
import torch
from fit_states import positive

from momos_compress.calibration.damping import damped, shrunk
from momos_compress.calibration.greedy import feedback
from momos_compress.calibration.state import LayerState
from momos_compress.calibration.waterfilling import steps_of
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import encode_scales, scale_values


def layer(groups: int, rows: int, width: int) -> LayerState:
    torch.manual_seed(0)
    scales = encode_scales(torch.rand(groups * rows) + 0.1)
    weights = torch.rand(groups, rows) + 0.1
    return LayerState("a", Layout(groups * rows), scales, (groups, rows, width), weights, True)


def test_errors_of_a_step_cost_the_same_in_every_row_and_column() -> None:
    one = layer(1, 6, 30)
    moments, _ = damped(positive(1, 30), 1)
    steps = steps_of(one, moments)
    assert steps.columns is not None
    importance = one.weights / scale_values(one.scales).reshape(1, 6).square()
    upper = feedback(moments[:, steps.order][:, :, steps.order])
    cost = torch.empty(30)
    cost[steps.order] = upper[0].diagonal().square().reciprocal()
    each = importance[0][:, None] * cost * (steps.rows[0][:, None] * steps.columns).square()
    torch.testing.assert_close(each, torch.ones(6, 30), rtol=1e-3, atol=0)
    assert float(steps.columns.log().mean()) == pytest.approx(0, abs=1e-5)


def test_unequal_steps_leave_less_error_at_the_same_bits() -> None:
    """What water-filling promises: the geometric mean of columns' costs in place of the arithmetic one."""
    one = layer(1, 40, 64)
    moments, _ = damped(positive(1, 64), 1)
    steps = steps_of(one, moments)
    assert steps.columns is not None
    upper = feedback(moments[:, steps.order][:, :, steps.order])[0]
    columns = steps.columns[steps.order]
    weight = 50 * torch.randn(40, 64)

    def error(step: torch.Tensor) -> float:
        left, total = weight.clone(), 0.0
        for j in range(64):
            missed = (left[:, j] - (left[:, j] / step[j]).round() * step[j]) / upper[j, j]
            total += float(missed.square().sum())
            left[:, j + 1 :] -= missed[:, None] * upper[j, j + 1 :]
        return total

    # The product of all steps, and with it the rate, is the same.
    assert error(columns) < 0.9 * error(torch.ones(64))


def test_groups_have_no_columns_and_unknown_inputs_none_either() -> None:
    grouped = layer(5, 1, 9)
    moments, _ = damped(positive(5, 9), 1)
    assert steps_of(grouped, moments).columns is None
    alone = steps_of(layer(1, 3, 8), None)
    assert alone.columns is None
    assert alone.order.tolist() == list(range(8))


@pytest.mark.parametrize("samples", [12, 60, 2000])
def test_shrunk_moments_are_nearer_to_the_true_ones(samples: int) -> None:
    generator = torch.Generator().manual_seed(samples)
    width = 60
    true = torch.diag(torch.logspace(0, -1, width)) + 0.02
    true = true + 4 * torch.ones(width, width) / width  # inputs with a mean, as behind a ReLU
    root = torch.linalg.cholesky(true)
    vectors = torch.randn(samples, width, generator=generator) @ root.T
    few = (vectors.T @ vectors / samples)[None]
    better = shrunk(few, samples)
    off, now = (float((each[0] - true).square().sum()) for each in (few, better))
    assert now < off if samples < 1000 else now < 1.2 * off
    assert bool((torch.linalg.eigvalsh(better[0]) > 0).all())
