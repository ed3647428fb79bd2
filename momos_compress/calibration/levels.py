"""Motifs that are levels: s = 1, about one apart, in rows and columns whose scales make all errors cost the same.

Rounding with feedback of errors and a price on bits is CERWU's (arXiv 2505.18758); steps by water-filling are those of
WaterSIC (arXiv 2603.04956).
"""

import torch

from momos_compress.calibration.greedy import feedback
from momos_compress.calibration.kernels.available import compiled
from momos_compress.calibration.level_model import Rounding
from momos_compress.calibration.pieces import row_pieces

PRICE = 2 * 0.6931471805599453 / 12
"""What a bit is worth in squared steps: at high rates a bit quarters the error of a step, 1 / 12."""


def round_greedily(
    targets: torch.Tensor, moments: torch.Tensor, order: torch.Tensor, rounding: Rounding
) -> torch.Tensor:
    """Levels of a layer, column after column, where later columns answer for the errors of earlier ones (GPTQ).

    Args:
        targets: (groups, rows, columns).
        moments: (groups, columns, columns) positive definite.
        order: (columns,), in which columns are rounded.
        rounding: Levels and bits.

    Returns:
        (groups, rows, columns) int16, from the lowest level.
    """
    upper = feedback(moments[:, order][:, :, order])
    ordered, out = rounding.in_order(order), torch.empty(targets.shape, dtype=torch.int16)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    for part in row_pieces(targets.shape):
        left = targets[:, part, order].contiguous()
        found = torch.empty(left.shape, dtype=torch.int32)
        if compiled(left):
            from momos_compress.calibration.kernels.level_passes import greedy

            greedy(left, upper, ordered.of_rows(part), found)
        else:
            _greedy(left, upper, ordered.of_rows(part), found)
        out[:, part] = found[:, :, back.cpu()].short()
    return out


def round_alone(targets: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """Levels of a layer, each value by itself: (groups, rows, columns) int16 of targets of that shape."""
    out = torch.empty(targets.shape, dtype=torch.int16)
    for part in row_pieces(targets.shape):
        own = rounding.of_rows(part)
        price, classes = own.price[:, :, None].to(targets), own.of_values().to(targets.device)
        out[:, part] = cheapest(targets[:, part], 1.0, price, own, classes).short().cpu()
    return out


def improve_levels(
    targets: torch.Tensor, levels: torch.Tensor, moments: torch.Tensor, rounding: Rounding
) -> torch.Tensor:
    """One pass of coordinate descent over a layer's levels, which never raises the objective.

    Args:
        targets: (groups, rows, columns).
        levels: (groups, rows, columns), integers.
        moments: (groups, columns, columns) positive definite.
        rounding: Levels and bits.

    Returns:
        The new levels, int16 of the same shape.
    """
    out = torch.empty(targets.shape, dtype=torch.int16)
    for part in row_pieces(targets.shape):
        own, now = rounding.of_rows(part), levels[:, part].to(torch.int32, copy=True)
        pull = (targets[:, part] - rounding.values.to(targets)[now.to(targets.device)]) @ moments
        if compiled(targets):
            from momos_compress.calibration.kernels.level_passes import descent

            descent(pull, now, moments, own)
        else:
            _descend(pull, now, moments, own)
        out[:, part] = now.short()
    return out


def cheapest(
    target: torch.Tensor,
    curvature: torch.Tensor | float,
    price: torch.Tensor,
    rounding: Rounding,
    classes: torch.Tensor,
) -> torch.Tensor:
    """The level of least ``curvature (target - value)^2 + price bits`` among zero and those about the nearest.

    Args:
        target: Of any shape.
        curvature: A number, or of a shape that broadcasts against it.
        price: Of a shape that broadcasts against it.
        rounding: Levels and bits.
        classes: Of the values, of their shape.

    Returns:
        Levels from the lowest, int64 of the same shape.
    """
    values, bits = rounding.values.to(target), rounding.bits.to(target)
    middle, last = len(values) // 2, len(values) - 1
    nearest = (target.round().long() + middle).clamp(0, last)
    found = torch.full_like(nearest, middle)
    best = curvature * (target - values[middle]).square() + price * bits[classes, middle]
    for off in (-1, 0, 1):
        level = (nearest + off).clamp(0, last)
        cost = curvature * (target - values[level]).square() + price * bits[classes, level]
        found, best = torch.where(cost < best, level, found), torch.minimum(cost, best)
    return found


def _greedy(left: torch.Tensor, upper: torch.Tensor, rounding: Rounding, out: torch.Tensor) -> None:
    values, price, classes = rounding.values.to(left), rounding.price.to(left), rounding.of_values().to(left.device)
    for j in range(left.shape[2]):
        own = upper[:, j, j][:, None]
        found = cheapest(left[:, :, j], own.square().reciprocal(), price, rounding, classes[:, :, j])
        out[:, :, j] = found.int().cpu()
        error = (left[:, :, j] - values[found]) / own
        left[:, :, j + 1 :] -= error[:, :, None] * upper[:, j, j + 1 :][:, None, :]


def _descend(pull: torch.Tensor, levels: torch.Tensor, moments: torch.Tensor, rounding: Rounding) -> None:
    values, price, classes = rounding.values.to(pull), rounding.price.to(pull), rounding.of_values().to(pull.device)
    for j in range(pull.shape[2]):
        now, curvature = levels[:, :, j].to(pull.device).long(), moments[:, j, j][:, None]
        target = values[now] + pull[:, :, j] / curvature
        found = cheapest(target, curvature, price, rounding, classes[:, :, j])
        pull += (values[now] - values[found])[:, :, None] * moments[:, j][:, None, :]
        levels[:, :, j] = found.int().cpu()
