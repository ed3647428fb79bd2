"""A codebook as a tree of boxes, so that a search looks at few of its motifs.

A kd-tree (Bentley 1975) of fixed depth: motifs lie in leaves, leaves in boughs, each with the box that its motifs fill.
It is cut once for a codebook. A metric is applied to the boxes, whose images then bound distances from below.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

LEAF = 32
"""Motifs of a leaf, which are looked at together: a few vector registers full."""
BOUGH = 16
"""Leaves of a bough."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


class MotifTree(NamedTuple):
    """The tree; a tuple, for that is what compiled loops take.

    Where motifs or boxes lie side by side, a last row has what they take to name, in bits.

    Attributes:
        book: (k, s), the motifs in their own order.
        leaf_of: (k,), the leaf of each motif.
        numbers: (leaves, LEAF), the number of each motif in the tree's order.
        motifs: (leaves, s + 1, LEAF), in that order; places beyond the k-th repeat the last motif.
        leaf_boxes: (boughs, 2 s + 1, BOUGH): middles, half sides and the fewest bits of the leaves of each bough; what
            is beyond the last leaf is not looked at.
        bough_boxes: (1, 2 s + 1, boughs), likewise of the boughs.
    """

    book: Floats
    leaf_of: Integers
    numbers: Integers
    motifs: Floats
    leaf_boxes: Floats
    bough_boxes: Floats


def motif_tree(codebook: torch.Tensor, bits: torch.Tensor) -> MotifTree:
    """Cut a codebook (k, s) of which each motif takes ``bits`` (k,) to name."""
    book = np.ascontiguousarray(codebook.numpy(), dtype=np.float32)
    k = len(book)
    leaves = -(-k // LEAF)
    boughs = -(-leaves // BOUGH)
    order = np.arange(leaves * LEAF).clip(max=k - 1)
    _cut(book, order)
    leaf_of = np.empty(k, dtype=np.int32)
    leaf_of[order] = np.arange(leaves, dtype=np.int32).repeat(LEAF)
    place = order.reshape(leaves, LEAF)
    members, price = book[place], bits.numpy().astype(np.float32)[place]
    low, high, least = members.min(axis=1), members.max(axis=1), price.min(axis=1)
    boxes = np.zeros((boughs * BOUGH, 2 * book.shape[1] + 1), dtype=np.float32)
    boxes[:leaves] = _boxes(low, high, least)
    starts = np.arange(0, leaves, BOUGH)
    wide = _boxes(*(f.reduceat(x, starts) for f, x in ((np.minimum, low), (np.maximum, high), (np.minimum, least))))
    return MotifTree(
        book,
        leaf_of,
        place.astype(np.int32),
        _side_by_side(np.concatenate([members, price[:, :, None]], axis=2)),
        _side_by_side(boxes.reshape(boughs, BOUGH, -1)),
        _side_by_side(wide[None]),
    )


def _boxes(low: Floats, high: Floats, bits: Floats) -> Floats:
    """Middles, half sides and bits in one: (n, 2 s + 1)."""
    return np.concatenate([(low + high) / 2, (high - low) / 2, bits[:, None]], axis=1)


def _side_by_side(rows: Floats) -> Floats:
    """(n, a, b) as (n, b, a)."""
    return np.ascontiguousarray(rows.transpose(0, 2, 1), dtype=np.float32)


def _cut(book: Floats, order: NDArray[np.int64]) -> None:
    """Order motifs so that each leaf's lie together: halve them across the widest side, in whole leaves."""
    parts = [order]  # views into the one order, which is what is sorted
    while parts:
        part = parts.pop()
        if len(part) <= LEAF:
            continue
        members = book[part]
        half = len(part) // LEAF // 2 * LEAF
        side = int(np.argmax(members.max(axis=0) - members.min(axis=0)))
        part[:] = part[np.argpartition(members[:, side], half)]
        parts += [part[:half], part[half:]]


class Memory(NamedTuple):
    """What one thread's searches write: the tree's image under the metric in use, as far as it has been asked for.

    Attributes:
        motifs: As the tree's, mapped.
        leaf_boxes: As the tree's, mapped.
        bough_boxes: As the tree's, mapped.
        stamps: (leaves + boughs + 1,), the number of the metric for which each leaf's motifs, and the boxes of each
            bough's leaves, were last mapped; the last is the number of the one in use.
        costs: (LEAF,), of the motifs of a leaf.
        leaf_bounds: (BOUGH,), what motifs of the leaves of a bough cost at least.
        bounds: (boughs,), the same of boughs.
        point: (2, s), where the motif is to be, before it is mapped and after.
    """

    motifs: Floats
    leaf_boxes: Floats
    bough_boxes: Floats
    stamps: Integers
    costs: Floats
    leaf_bounds: Floats
    bounds: Floats
    point: Floats


def memory_for(tree: MotifTree) -> Memory:
    """Memory for the searches of one thread."""
    boughs = len(tree.leaf_boxes)
    return Memory(
        tree.motifs.copy(),
        tree.leaf_boxes.copy(),
        tree.bough_boxes.copy(),
        np.zeros(len(tree.motifs) + boughs + 1, dtype=np.int32),
        np.empty(LEAF, dtype=np.float32),
        np.empty(BOUGH, dtype=np.float32),
        np.empty(boughs, dtype=np.float32),
        np.empty((2, tree.book.shape[1]), dtype=np.float32),
    )
