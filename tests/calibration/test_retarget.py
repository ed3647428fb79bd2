"""New targets for changed inputs, against least squares."""

import numpy as np
import pytest
import torch

from momos_compress.calibration.retarget import corrected

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_targets_move_towards_what_gives_the_same_outputs_of_new_inputs(share: float) -> None:
    groups, rows, columns, padded = 2, 5, 6, 8
    before = torch.randn(groups, 200, columns)
    now = before + 0.3 * torch.randn(groups, 200, columns)
    targets = torch.nn.functional.pad(torch.randn(groups, rows, columns), (0, padded - columns))
    moments = torch.eye(padded).repeat(groups, 1, 1)
    moments[:, :columns, :columns] = now.transpose(1, 2) @ now
    kept = targets.clone()
    found = corrected(targets, moments, [(before - now).transpose(1, 2) @ now], share)
    assert torch.equal(targets, kept)
    assert not found[:, :, columns:].any()
    for g in range(groups):
        old = targets[g, :, :columns].double().numpy()
        outputs = before[g].double().numpy() @ old.T
        best = np.linalg.lstsq(now[g].double().numpy(), outputs, rcond=None)[0].T
        np.testing.assert_allclose(found[g, :, :columns].numpy(), old + share * (best - old), rtol=1e-4, atol=1e-4)


def test_what_the_halves_do_not_agree_on_is_left_out() -> None:
    torch.manual_seed(0)
    targets, moments = torch.randn(1, 50, 6), torch.eye(6)[None]
    sure, chance = torch.randn(1, 6, 6), torch.randn(1, 6, 6)

    def length(halves: list[torch.Tensor]) -> float:
        step = corrected(targets, moments, halves, 1.0) - targets
        return float(step.norm() / (targets @ sum(halves)).norm())

    assert length([sure / 2, sure / 2]) == pytest.approx(1, rel=1e-4)
    assert length([sure]) == pytest.approx(1, rel=1e-4)
    assert float((corrected(targets, moments, [chance, -chance], 1.0) - targets).norm()) == 0
    # Signal and noise of one size in each half: half of what a half says is sure, and two thirds of what both say.
    noise = [torch.randn(1, 6, 6) for _ in range(2)]
    assert length([sure + each for each in noise]) == pytest.approx(2 / 3, abs=0.2)
