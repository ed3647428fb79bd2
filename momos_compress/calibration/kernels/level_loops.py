"""The loops over a layer's values, each rounded to the level that costs least: squared error plus the price of bits.

``tables`` holds, for each class of values, the bits of every level; a value's class is that of its row plus that of its
column. Levels are numbered from the lowest.
"""

import numpy as np

from momos_compress.calibration.kernels.jit import jit
from momos_compress.calibration.kernels.tree import Floats, Integers

NEAR = 1
"""Levels that are looked at on either side of the nearest, beside zero.

A level further off costs more in error than the next one, and fewer bits only if it is nearer to zero.
"""


@jit
def cheapest_level(target: np.float32, curvature: np.float32, price: np.float32, bits: Floats, values: Floats) -> int:
    """The level that costs ``curvature (target - value)^2 + price bits`` least.

    Args:
        target: What is rounded.
        curvature: What a squared error costs.
        price: What a bit costs.
        bits: (levels,) of the value's class.
        values: (levels,) ascending, about one apart, zero in the middle.
    """
    middle, last = len(values) // 2, len(values) - 1
    nearest = int(np.rint(target)) + middle
    nearest = min(max(nearest, 0), last)
    gap = target - values[middle]
    found, best = middle, curvature * gap * gap + price * bits[middle]
    for level in range(max(nearest - NEAR, 0), min(nearest + NEAR, last) + 1):
        gap = target - values[level]
        cost = curvature * gap * gap + price * bits[level]
        if cost < best:
            found, best = level, cost
    return found


@jit
def greedily(
    first: int,
    last: int,
    panel: tuple[int, int],
    left: Floats,
    price: Floats,
    upper: Floats,
    classes: tuple[Integers, Integers],
    tables: Floats,
    values: Floats,
    out: Integers,
    errors: Floats,
) -> None:
    """Round a panel of columns in turn, and let the later ones of the panel answer for each one's error.

    Args:
        first: The line, which is a row of a group, to start with.
        last: The line before which to stop.
        panel: Its first column, and the one after its last.
        left: (groups, rows, columns), what is still to be stood for; changed within the panel.
        price: (groups, rows), what a bit costs.
        upper: (groups, columns, columns), how errors move on.
        classes: Of rows, (groups, rows), and of columns, (groups, columns).
        tables: (classes, levels) bits.
        values: (levels,) ascending.
        out: (groups, rows, columns), filled for the panel.
        errors: (groups, rows, panel's columns), filled: errors over the diagonal of ``upper``.
    """
    rows, most = left.shape[1], len(tables) - 1
    for line in range(first, last):
        g, row = line // rows, line % rows
        for j in range(panel[0], panel[1]):
            inverse = np.float32(1) / upper[g, j, j]
            bits = tables[min(max(classes[0][g, row] + classes[1][g, j], 0), most)]
            target = left[g, row, j]
            found = cheapest_level(target, inverse * inverse, price[g, row], bits, values)
            error = (target - values[found]) * inverse
            out[g, row, j] = found
            errors[g, row, j - panel[0]] = error
            for c in range(j + 1, panel[1]):
                left[g, row, c] -= error * upper[g, j, c]


@jit
def descending(
    first: int,
    last: int,
    panel: tuple[int, int],
    pull: Floats,
    price: Floats,
    moments: Floats,
    classes: tuple[Integers, Integers],
    tables: Floats,
    values: Floats,
    levels: Integers,
    changes: Floats,
) -> None:
    """Give each value of a panel in turn its cheapest level with all others held fixed.

    Args:
        first: The line, which is a row of a group, to start with.
        last: The line before which to stop.
        panel: Its first column, and the one after its last.
        pull: (groups, rows, columns), the error times the moments; kept up within the panel.
        price: (groups, rows), what a bit costs.
        moments: (groups, columns, columns).
        classes: Of rows, (groups, rows), and of columns, (groups, columns).
        tables: (classes, levels) bits.
        values: (levels,) ascending.
        levels: (groups, rows, columns), improved.
        changes: (groups, rows, panel's columns) zeros, filled where the error changes.
    """
    rows, most = pull.shape[1], len(tables) - 1
    for line in range(first, last):
        g, row = line // rows, line % rows
        for j in range(panel[0], panel[1]):
            now, curvature = levels[g, row, j], moments[g, j, j]
            bits = tables[min(max(classes[0][g, row] + classes[1][g, j], 0), most)]
            target = values[now] + pull[g, row, j] / curvature
            found = cheapest_level(target, curvature, price[g, row], bits, values)
            if found != now:
                levels[g, row, j] = found
                change = values[now] - values[found]
                changes[g, row, j - panel[0]] = change
                for c in range(j + 1, panel[1]):
                    pull[g, row, c] += change * moments[g, j, c]
