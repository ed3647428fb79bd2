"""Finds the classes of rows and columns that make a mosaic's streams short."""

from collections.abc import Callable, Mapping

import numpy as np

from momos_compress.coding.index_classes import (
    CLASSES,
    FULL,
    LEVELS,
    MAX_COUNTED,
    Grid,
    IndexClasses,
    groups_of,
    joined,
)
from momos_compress.coding.index_model import frequencies

_ROUNDS = 12


Read = Callable[[str], np.ndarray]
"""The indices of a parameter, by its name."""


def find_classes(grids: Mapping[str, Grid], counts: np.ndarray, usage: np.ndarray, read: Read) -> IndexClasses | None:
    """Classes that make the streams of these parameters short; None where they save less than they take.

    counts: (k,) as stored. usage: (k,), the true ones. Rows, columns and tables are improved in turn, from rows and
    columns in three parts by how long their blocks' codes are.
    """
    if not grids or int(counts.sum()) >= MAX_COUNTED:
        return None
    group = groups_of(counts).astype(np.uint8)
    groups = int(group[-1]) + 1
    share = np.bincount(group, weights=usage, minlength=groups) / usage.sum()
    bits = -np.log2(frequencies(counts) / frequencies(counts).sum())
    found = _Search(grids, groups, lambda name: group[read(name)].reshape(grids[name]))
    found.begin(lambda name: bits[read(name)].reshape(grids[name]))
    saved = 0.0
    tables = np.full((CLASSES, groups), FULL, dtype=np.uint8)
    for _ in range(_ROUNDS):
        blocks = found.blocks()
        tables = _tables(blocks, share)
        lengths = _lengths(tables, share)
        before, saved = saved, -float((blocks * lengths).sum())
        if saved < before * 1.001:
            break
        found.improve(lengths)
    rows, columns = ({name: levels.astype(np.uint8) for name, levels in axis.items()} for axis in found.levels)
    classes = IndexClasses(tables, rows, columns)
    return classes if saved > 8 * len(classes.to_bytes()) else None


class _Search:
    """Rows and columns of every parameter, and the classes they have so far. groups_in: the groups of a parameter's
    blocks, (rows, columns).
    """

    def __init__(self, grids: Mapping[str, Grid], groups: int, groups_in: Read) -> None:
        self.grids, self.groups, self.groups_in = grids, groups, groups_in
        self.levels: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})

    def begin(self, bits_in: Read) -> None:
        """By the mean length of the codes of a row's, or a column's, blocks."""
        means: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
        for name in self.grids:
            bits = bits_in(name)
            for axis in (0, 1):
                means[axis][name] = bits.mean(axis=1 - axis)
        for axis in (0, 1):
            bounds = np.quantile(joined(means[axis]), np.arange(1, LEVELS) / LEVELS)
            self.levels[axis].update({name: np.digitize(mean, bounds) for name, mean in means[axis].items()})

    def blocks(self) -> np.ndarray:
        """How many blocks of each class have a motif of each group: (CLASSES, groups)."""
        total = np.zeros(CLASSES * self.groups, dtype=np.int64)
        for name in self.grids:
            kinds = LEVELS * self.levels[0][name][:, None] + self.levels[1][name][None, :]
            total += np.bincount((kinds * self.groups + self.groups_in(name)).reshape(-1), minlength=len(total))
        return total.reshape(CLASSES, self.groups)

    def improve(self, lengths: np.ndarray) -> None:
        """Give each row, then each column, the class of the shortest code. lengths: bits, (CLASSES, groups)."""
        cost = lengths.reshape(LEVELS, LEVELS, self.groups)
        for axis in (0, 1):
            taken = np.bincount(joined(self.levels[axis]), minlength=LEVELS) + 1
            own = -np.log2(taken / taken.sum())
            for name in self.grids:
                lines, others = self.groups_in(name), self.levels[1 - axis][name]
                if axis:
                    lines = lines.T
                keys = (np.arange(len(lines))[:, None] * LEVELS + others[None, :]) * self.groups + lines
                size = len(lines) * LEVELS * self.groups
                counted = np.bincount(keys.reshape(-1), minlength=size).reshape(len(lines), -1)
                weights = (cost if axis == 0 else cost.swapaxes(0, 1)).reshape(LEVELS, -1)
                self.levels[axis][name] = np.argmin(counted @ weights.T + own, axis=1)


def _tables(blocks: np.ndarray, share: np.ndarray) -> np.ndarray:
    """What multiplies the counts of each group in each class, the most likely against the whole file at 255."""
    ratios = (blocks + share) / (blocks.sum(axis=1, keepdims=True) + 1) / np.maximum(share, 1e-9)
    scaled = np.rint(FULL * ratios / ratios.max(axis=1, keepdims=True))
    tables: np.ndarray = np.maximum(scaled, 1).astype(np.uint8)
    return tables


def _lengths(tables: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Bits that a block of a group takes in a class beyond what it takes without classes."""
    shares = tables * share
    extra: np.ndarray = np.log2(shares.sum(axis=1, keepdims=True) / tables)
    return extra
