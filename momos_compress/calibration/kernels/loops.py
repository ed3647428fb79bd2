"""The loops over a layer's blocks, each with the search for its cheapest motif.

All are in one file, since the compiler's cache does not see that a function from another file has changed. Arrays are
arguments of a search one by one: to take one out of a record costs compiled code as much as a small search.

``dims`` is a tuple of s zeros: its length is known to the compiler, which unrolls what runs over a block's values.
"""

from typing import cast

import numpy as np

from momos_compress.calibration.kernels.jit import jit
from momos_compress.calibration.kernels.tree import BOUGH, LEAF, Floats, Integers, Memory, MotifTree

Dims = tuple[int, ...]

ANY = cast(int, np.int64(-1))
"""The leaf to start with: the one that promises most. A constant of NumPy's, else it would be compiled for anew."""
ALL = cast(int, np.int64(0))
"""Where the boxes of all boughs are."""
ZERO = np.float32(0)
HALF = np.float32(0.5)
INFINITE = np.float32(np.inf)
NEARER = np.float32(1 - 1e-6)
"""Factor on a distance that keeps rounding from making a bound too large."""
WIDER = np.float32(1 + 1e-5)
"""Factor on a box's sides, for the same."""
OFF = np.float32(1e-6)
"""What they are wider by, over the distance of the box from 0, for the same."""


@jit
def _map_boxes(boxes: Floats, mapped: Floats, u: int, metric: Floats, dims: Dims) -> None:
    """Boxes about the images of boxes under a metric."""
    s = len(dims)
    for i in range(s):
        for f in range(boxes.shape[2]):
            centre, half = ZERO, ZERO
            for d in range(len(dims)):
                centre += boxes[u, d, f] * metric[d, i]
                half += boxes[u, s + d, f] * abs(metric[d, i])
            mapped[u, i, f] = centre
            mapped[u, s + i, f] = half * WIDER + abs(centre) * OFF


@jit
def _bound(boxes: Floats, u: int, point: Floats, weight: np.float32, bounds: Floats, dims: Dims) -> None:
    """What motifs in boxes cost at least."""
    s = len(dims)
    for f in range(boxes.shape[2]):
        bound = ZERO
        for d in range(len(dims)):
            gap = abs(point[1, d] - boxes[u, d, f]) * NEARER - boxes[u, s + d, f]
            gap = gap if gap > ZERO else ZERO
            bound += gap * gap
        bounds[f] = (bound + weight * boxes[u, 2 * s, f]) * NEARER


@jit
def _close(boxes: Floats, u: int, f: int, i: int, low: np.float32, high: np.float32, dims: Dims) -> None:
    """Set one side of a box, a little wider than from ``low`` to ``high``."""
    centre = (low + high) * HALF
    boxes[u, i, f] = centre
    boxes[u, len(dims) + i, f] = (high - low) * HALF * WIDER + abs(centre) * OFF


@jit
def _close_bough(mapped_leaves: Floats, mapped_boughs: Floats, u: int, count: int, dims: Dims) -> None:
    """Close a bough's box about those of its leaves."""
    for i in range(len(dims)):
        low, high = INFINITE, -INFINITE
        for f in range(count):
            centre, half = mapped_leaves[u, i, f], mapped_leaves[u, len(dims) + i, f]
            low = centre - half if centre - half < low else low
            high = centre + half if centre + half > high else high
        _close(mapped_boughs, ALL, u, i, low, high, dims)


@jit
def _map_motifs(motifs: Floats, mapped: Floats, mapped_leaves: Floats, leaf: int, metric: Floats, dims: Dims) -> None:
    """Map a leaf's motifs, and close its box about them: the image of a box fills little of a box of its own."""
    for i in range(len(dims)):
        for m in range(LEAF):
            value = ZERO
            for d in range(len(dims)):
                value += motifs[leaf, d, m] * metric[d, i]
            mapped[leaf, i, m] = value
        low, high = INFINITE, -INFINITE
        for m in range(LEAF):
            value = mapped[leaf, i, m]
            low = value if value < low else low
            high = value if value > high else high
        _close(mapped_leaves, leaf // BOUGH, leaf % BOUGH, i, low, high, dims)


@jit
def _costs(mapped: Floats, leaf: int, point: Floats, weight: np.float32, costs: Floats, dims: Dims) -> np.float32:
    """Of each motif of a leaf; returns the least."""
    for m in range(LEAF):
        cost = ZERO
        for d in range(len(dims)):
            gap = point[1, d] - mapped[leaf, d, m]
            cost += gap * gap
        costs[m] = cost + weight * mapped[leaf, len(dims), m]
    least = INFINITE
    for m in range(LEAF):
        least = costs[m] if costs[m] < least else least
    return least


@jit
def _least(bounds: Floats, count: int) -> int:
    at = 0
    for u in range(count):
        if bounds[u] < bounds[at]:
            at = u
    return at


@jit
def cheapest_motif(
    start: int,
    weight: np.float32,
    metric: Floats,
    numbers: Integers,
    motifs: Floats,
    leaf_boxes: Floats,
    mapped: Floats,
    mapped_leaves: Floats,
    mapped_boughs: Floats,
    stamps: Integers,
    costs: Floats,
    leaf_bounds: Floats,
    bounds: Floats,
    point: Floats,
    dims: Dims,
) -> int:
    """The motif that costs ``point[1]`` least; of equal ones the first in the codebook.

    Args:
        start: The leaf to look at first, or ``ANY``.
        weight: What a bit costs.
        metric: (s, s), after which distances are measured.
        numbers: The tree's, as are the two after it.
        motifs: The tree's.
        leaf_boxes: The tree's.
        mapped: Memory's ``motifs``, as are those after it.
        mapped_leaves: Memory's.
        mapped_boughs: Memory's, mapped already.
        stamps: Memory's.
        costs: Memory's.
        leaf_bounds: Memory's.
        bounds: Memory's.
        point: Memory's.
        dims: s zeros.
    """
    leaves, boughs = len(motifs), len(bounds)
    stamp = stamps[leaves + boughs]
    _bound(mapped_boughs, ALL, point, weight, bounds, dims)
    best, found = INFINITE, int(ALL)
    # The bough to start with comes first, and once more in its turn, where its first leaf is left out.
    first = start // BOUGH if start >= 0 else _least(bounds, boughs)
    looked = start
    for turn in range(-1, boughs):
        u = first if turn < 0 else turn
        if bounds[u] > best:
            continue
        count = min(BOUGH, leaves - u * BOUGH)
        if stamps[leaves + u] != stamp:
            _map_boxes(leaf_boxes, mapped_leaves, u, metric, dims)
            _close_bough(mapped_leaves, mapped_boughs, u, count, dims)
            stamps[leaves + u] = stamp
        if turn >= 0 or start < 0:
            _bound(mapped_leaves, u, point, weight, leaf_bounds, dims)
        low, high = 0, count
        if turn < 0:
            low = start - u * BOUGH if start >= 0 else _least(leaf_bounds, high)
            high = low + 1
            looked = u * BOUGH + low
        for f in range(low, high):
            leaf = u * BOUGH + f
            if turn >= 0 and (leaf == looked or leaf_bounds[f] > best):
                continue
            if stamps[leaf] != stamp:
                _map_motifs(motifs, mapped, mapped_leaves, leaf, metric, dims)
                _close_bough(mapped_leaves, mapped_boughs, u, count, dims)
                stamps[leaf] = stamp
            least = _costs(mapped, leaf, point, weight, costs, dims)
            if least <= best:
                for m in range(LEAF):
                    number = int(numbers[leaf, m])
                    if costs[m] == least and (least < best or number < found):
                        best, found = least, number
    return found


@jit
def independently(
    first: int,
    last: int,
    memory: Memory,
    tree: MotifTree,
    targets: Floats,
    weight: Floats,
    metric: Floats,
    out: Integers,
    dims: Dims,
) -> None:
    """The cheapest motif of each block by itself, in the plain metric.

    Args:
        first: The line, which is a row of a group, to start with.
        last: The line before which to stop.
        memory: Of this thread.
        tree: The codebook.
        targets: (lines, columns).
        weight: (lines,), what a bit costs.
        metric: (s, s), the identity.
        out: (lines, blocks), filled.
        dims: s zeros.
    """
    motifs, leaf_boxes, numbers = tree.motifs, tree.leaf_boxes, tree.numbers
    bough_boxes = tree.bough_boxes
    mapped, mapped_leaves, mapped_boughs, stamps, costs, leaf_bounds, bounds, point = memory
    stamps[-1] += 1
    _map_boxes(bough_boxes, mapped_boughs, ALL, metric, dims)
    for line in range(first, last):
        for j in range(out.shape[1]):
            for d in range(len(dims)):
                point[1, d] = targets[line, j * len(dims) + d]
            out[line, j] = cheapest_motif(
                ANY,
                weight[line],
                metric,
                numbers,
                motifs,
                leaf_boxes,
                mapped,
                mapped_leaves,
                mapped_boughs,
                stamps,
                costs,
                leaf_bounds,
                bounds,
                point,
                dims,
            )


@jit
def greedily(
    first: int,
    last: int,
    memory: Memory,
    panel: tuple[int, int],
    tree: MotifTree,
    left: Floats,
    weight: Floats,
    upper: Floats,
    inverse: Floats,
    metrics: Floats,
    out: Integers,
    errors: Floats,
    dims: Dims,
) -> None:
    """Assign a panel of blocks in turn, and let the later ones of the panel answer for each one's error.

    Args:
        first: The line, which is a row of a group, to start with.
        last: The line before which to stop.
        memory: Of this thread.
        panel: Its first block, and the one after its last.
        tree: The codebook.
        left: (groups, rows, columns), what is still to be stood for; changed within the panel.
        weight: (groups, rows), what a bit costs.
        upper: (groups, columns, columns), how errors move on.
        inverse: (groups, blocks, s, s), inverses of its own blocks.
        metrics: (groups, blocks, s, s), the maps after which distances are measured.
        out: (groups, rows, blocks), filled for the panel.
        errors: (groups, rows, panel's columns), filled: the errors, scaled as later columns get them.
        dims: s zeros.
    """
    motifs, leaf_boxes, numbers, book = tree.motifs, tree.leaf_boxes, tree.numbers, tree.book
    bough_boxes = tree.bough_boxes
    mapped, mapped_leaves, mapped_boughs, stamps, costs, leaf_bounds, bounds, point = memory
    s, rows, low, end = len(dims), left.shape[1], panel[0] * len(dims), panel[1] * len(dims)
    for g in range(first // rows, (last - 1) // rows + 1):
        for j in range(panel[0], panel[1]):
            metric = metrics[g, j]
            stamps[-1] += 1
            _map_boxes(bough_boxes, mapped_boughs, ALL, metric, dims)
            for row in range(max(first - g * rows, 0), min(last - g * rows, rows)):
                for i in range(len(dims)):
                    value = ZERO
                    for d in range(len(dims)):
                        value += left[g, row, j * s + d] * metric[d, i]
                    point[1, i] = value
                found = cheapest_motif(
                    ANY,
                    weight[g, row],
                    metric,
                    numbers,
                    motifs,
                    leaf_boxes,
                    mapped,
                    mapped_leaves,
                    mapped_boughs,
                    stamps,
                    costs,
                    leaf_bounds,
                    bounds,
                    point,
                    dims,
                )
                out[g, row, j] = found
                for i in range(len(dims)):
                    value = ZERO
                    for d in range(len(dims)):
                        value += (left[g, row, j * s + d] - book[found, d]) * inverse[g, j, d, i]
                    errors[g, row, j * s - low + i] = value
                for d in range(len(dims)):
                    value = errors[g, row, j * s - low + d]
                    for c in range(j * s + s, end):
                        left[g, row, c] -= value * upper[g, j * s + d, c]


@jit
def descending(
    first: int,
    last: int,
    memory: Memory,
    panel: tuple[int, int],
    tree: MotifTree,
    pull: Floats,
    weight: Floats,
    moments: Floats,
    inverse: Floats,
    metrics: Floats,
    indices: Integers,
    changes: Floats,
    dims: Dims,
) -> None:
    """Give each block of a panel in turn its cheapest motif with all others held fixed.

    Args:
        first: The line, which is a row of a group, to start with.
        last: The line before which to stop.
        memory: Of this thread.
        panel: Its first block, and the one after its last.
        tree: The codebook.
        pull: (groups, rows, columns), the error times the moments; kept up within the panel.
        weight: (groups, rows), what a bit costs.
        moments: (groups, columns, columns).
        inverse: (groups, blocks, s, s), inverses of its own blocks.
        metrics: (groups, blocks, s, s), the maps after which distances are measured.
        indices: (groups, rows, blocks), improved.
        changes: (groups, rows, panel's columns) zeros, filled where the error changes.
        dims: s zeros.
    """
    motifs, leaf_boxes, numbers, book, leaf_of = tree.motifs, tree.leaf_boxes, tree.numbers, tree.book, tree.leaf_of
    bough_boxes = tree.bough_boxes
    mapped, mapped_leaves, mapped_boughs, stamps, costs, leaf_bounds, bounds, point = memory
    s, rows, low, end = len(dims), pull.shape[1], panel[0] * len(dims), panel[1] * len(dims)
    for g in range(first // rows, (last - 1) // rows + 1):
        for j in range(panel[0], panel[1]):
            metric = metrics[g, j]
            stamps[-1] += 1
            _map_boxes(bough_boxes, mapped_boughs, ALL, metric, dims)
            for row in range(max(first - g * rows, 0), min(last - g * rows, rows)):
                now = indices[g, row, j]
                for i in range(len(dims)):
                    value = book[now, i]
                    for d in range(len(dims)):
                        value += pull[g, row, j * s + d] * inverse[g, j, d, i]
                    point[0, i] = value
                for i in range(len(dims)):
                    value = ZERO
                    for d in range(len(dims)):
                        value += point[0, d] * metric[d, i]
                    point[1, i] = value
                found = cheapest_motif(
                    int(leaf_of[now]),
                    weight[g, row],
                    metric,
                    numbers,
                    motifs,
                    leaf_boxes,
                    mapped,
                    mapped_leaves,
                    mapped_boughs,
                    stamps,
                    costs,
                    leaf_bounds,
                    bounds,
                    point,
                    dims,
                )
                if found != now:
                    indices[g, row, j] = found
                    for d in range(len(dims)):
                        value = book[now, d] - book[found, d]
                        changes[g, row, j * s - low + d] = value
                        for c in range(j * s + s, end):
                            pull[g, row, c] += value * moments[g, j * s + d, c]
