"""Whole layers of levels through the compiled loops."""

import numpy as np
import torch

from momos_compress.calibration.kernels.passes import Team, bring_up, panels
from momos_compress.calibration.level_model import Rounding


def greedy(left: torch.Tensor, upper: torch.Tensor, rounding: Rounding, out: torch.Tensor) -> None:
    """Round columns one after the other, where later ones answer for the errors of earlier ones.

    Args:
        left: (groups, rows, columns), the targets; changed.
        upper: (groups, columns, columns) upper triangular, how errors move on.
        rounding: Levels and bits.
        out: (groups, rows, columns) int32, filled.
    """
    from momos_compress.calibration.kernels.level_loops import greedily

    groups, rows, width = left.shape
    held = left.numpy(), rounding.price.contiguous().numpy(), upper.contiguous().numpy(), *_costs(rounding)
    with Team(groups * rows) as team:
        for low, high in panels(width, 1):
            errors = torch.empty(groups, rows, high - low)
            team.run(greedily, (low, high), *held, out.numpy(), errors.numpy())
            if high < width:
                left[:, :, high:] -= errors @ upper[:, low:high, high:]


def descent(pull: torch.Tensor, levels: torch.Tensor, moments: torch.Tensor, rounding: Rounding) -> None:
    """Give each value in turn its cheapest level with all others held fixed.

    Args:
        pull: (groups, rows, columns), the error times the moments; changed.
        levels: (groups, rows, columns) int32; changed.
        moments: (groups, columns, columns) positive definite.
        rounding: Levels and bits.
    """
    from momos_compress.calibration.kernels.level_loops import descending

    groups, rows, width = pull.shape
    held = pull.numpy(), rounding.price.contiguous().numpy(), moments.contiguous().numpy(), *_costs(rounding)
    with Team(groups * rows) as team:
        for low, high in panels(width, 1):
            changes = torch.zeros(groups, rows, high - low)
            team.run(descending, (low, high), *held, levels.numpy(), changes.numpy())
            if high < width:
                bring_up(pull[:, :, high:], changes, moments[:, low:high, high:])


def _costs(rounding: Rounding) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]:
    """What the loops take of a rounding: classes of rows and columns, bits of levels in each class, and values."""
    of = tuple(part.int().contiguous().numpy() for part in rounding.classes)
    return of, rounding.bits.contiguous().numpy(), rounding.values.contiguous().numpy()
