"""Motifs that are levels: s = 1, about one apart, in rows and columns whose scales make all errors cost the same.

Rounding with feedback of errors and a price on bits is CERWU's (arXiv 2505.18758); steps by water-filling are those of
WaterSIC (arXiv 2603.04956).
"""

import torch

from momos_compress.calibration.greedy import feedback
from momos_compress.calibration.kernels.available import compiled
from momos_compress.calibration.level_model import Classes, Rounding

PRICE = 2 * 0.6931471805599453 / 12
"""What a bit is worth in squared steps: at high rates a bit quarters the error of a step, 1 / 12."""
CHUNK_VALUES = 2**21
"""Values that are rounded at a time where each is by itself."""


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
        (groups, rows, columns) int32, from the lowest level.
    """
    left = targets[:, :, order].contiguous()
    upper = feedback(moments[:, order][:, :, order])
    rows, columns = rounding.model.classes[rounding.name]
    classes = (rows, columns[:, order])
    out = torch.empty(left.shape, dtype=torch.int32)
    if compiled(targets):
        from momos_compress.calibration.kernels.level_passes import greedy

        greedy(left, upper, classes, rounding, out)
    else:
        _greedy(left, upper, classes, rounding, out)
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return out[:, :, back.cpu()]


def round_alone(targets: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """Levels of a layer, each value by itself: (groups, rows, columns) int32 of targets of that shape."""
    rows, columns = (part.to(targets.device) for part in rounding.model.classes[rounding.name])
    most, out = len(rounding.model.bits) - 1, torch.empty(targets.shape, dtype=torch.int32)
    step = max(1, CHUNK_VALUES // (targets.shape[0] * targets.shape[2]))
    for start in range(0, targets.shape[1], step):
        part = slice(start, start + step)
        classes = (rows[:, part, None] + columns[:, None, :]).clamp(0, most).long()
        price = rounding.price[:, part, None].to(targets)
        out[:, part] = cheapest(targets[:, part], 1.0, price, rounding, classes).int().cpu()
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
        The new levels, int32 of the same shape.
    """
    levels = levels.to(torch.int32, copy=True)
    pull = (targets - rounding.values.to(targets)[levels.to(targets.device)]) @ moments
    if compiled(targets):
        from momos_compress.calibration.kernels.level_passes import descent

        descent(pull, levels, moments, rounding)
        return levels
    model = rounding.model.of(rounding.name).to(targets.device)
    now, price = levels.long().to(targets.device), rounding.price.to(targets)
    values = rounding.values.to(targets)
    for j in range(targets.shape[2]):
        curvature = moments[:, j, j][:, None]
        target = values[now[:, :, j]] + pull[:, :, j] / curvature
        found = cheapest(target, curvature, price, rounding, model[:, :, j])
        change = values[now[:, :, j]] - values[found]
        pull += change[:, :, None] * moments[:, j][:, None, :]
        now[:, :, j] = found
    return now.int().cpu()


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
    values, bits = rounding.values.to(target), rounding.model.bits.to(target)
    middle, last = len(values) // 2, len(values) - 1
    nearest = (target.round().long() + middle).clamp(0, last)
    found = torch.full_like(nearest, middle)
    best = curvature * (target - values[middle]).square() + price * bits[classes, middle]
    for off in (-1, 0, 1):
        level = (nearest + off).clamp(0, last)
        cost = curvature * (target - values[level]).square() + price * bits[classes, level]
        found, best = torch.where(cost < best, level, found), torch.minimum(cost, best)
    return found


def _greedy(
    left: torch.Tensor,
    upper: torch.Tensor,
    classes: Classes,
    rounding: Rounding,
    out: torch.Tensor,
) -> None:
    values = rounding.values.to(left)
    most = len(rounding.model.bits) - 1
    rows, columns = (part.to(left.device) for part in classes)
    for j in range(left.shape[2]):
        own = upper[:, j, j][:, None]
        kind = (rows + columns[:, j, None]).clamp(0, most).long()
        found = cheapest(left[:, :, j], own.square().reciprocal(), rounding.price.to(left), rounding, kind)
        out[:, :, j] = found.int().cpu()
        error = (left[:, :, j] - values[found]) / own
        left[:, :, j + 1 :] -= error[:, :, None] * upper[:, j, j + 1 :][:, None, :]
