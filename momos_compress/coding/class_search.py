"""Search for classes of rows and columns that make the streams of a mosaic short."""

from collections.abc import Callable, Mapping

import numpy as np

from momos_compress.coding.index_classes import (
    BLOCK_CLASSES,
    FULL,
    LEVELS,
    MAX_COUNTED,
    IndexClasses,
    groups_of,
    joined,
)
from momos_compress.coding.index_model import frequencies
from momos_compress.coding.protocol import Grid

_ROUNDS = 12
"""Most rounds of the search, each of which improves tables, rows and columns."""

Read = Callable[[str], np.ndarray]
"""From a parameter's name to an array over its blocks: its indices, (blocks,), or what they stand for in its grid."""


def find_classes(grids: Mapping[str, Grid], counts: np.ndarray, usage: np.ndarray, read: Read) -> IndexClasses | None:
    """Search for classes that shorten the streams.

    Rows and columns begin in ``LEVELS`` equal parts, sorted by the mean code length of their blocks. Then tables, rows
    and columns are improved in turn, while a round saves at least a thousandth more than the last.

    Args:
        grids: Parameter -> rows and columns of its blocks.
        counts: The stored counts, (k,).
        usage: The exact counts, (k,).
        read: The indices of a parameter, (blocks,).

    Returns:
        The classes; None where they would take more bytes than they save.
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
    tables = np.full((BLOCK_CLASSES, groups), FULL, dtype=np.uint8)
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
    """The classes of the rows and columns of every parameter, as far as they have been improved.

    Args:
        grids: Parameter -> rows and columns of its blocks.
        groups: Number of groups of motifs.
        groups_in: From a parameter to the group of each of its blocks' motifs, (rows, columns).

    Attributes:
        levels: For rows, then for columns: parameter -> their classes.
    """

    def __init__(self, grids: Mapping[str, Grid], groups: int, groups_in: Read) -> None:
        self.grids, self.groups, self.groups_in = grids, groups, groups_in
        self.levels: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})

    def begin(self, bits_in: Read) -> None:
        """Sort rows and columns into classes by the mean code length of their blocks, ``bits_in`` (rows, columns)."""
        means: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
        for name in self.grids:
            bits = bits_in(name)
            for axis in (0, 1):
                means[axis][name] = bits.mean(axis=1 - axis)
        for axis in (0, 1):
            bounds = np.quantile(joined(means[axis]), np.arange(1, LEVELS) / LEVELS)
            self.levels[axis].update({name: np.digitize(mean, bounds) for name, mean in means[axis].items()})

    def blocks(self) -> np.ndarray:
        """Number of blocks of each class with a motif of each group, (BLOCK_CLASSES, groups)."""
        total = np.zeros(BLOCK_CLASSES * self.groups, dtype=np.int64)
        for name in self.grids:
            kinds = LEVELS * self.levels[0][name][:, None] + self.levels[1][name][None, :]
            total += np.bincount((kinds * self.groups + self.groups_in(name)).reshape(-1), minlength=len(total))
        return total.reshape(BLOCK_CLASSES, self.groups)

    def improve(self, lengths: np.ndarray) -> None:
        """Give each row, then each column, its shortest code; ``lengths`` in bits, (BLOCK_CLASSES, groups)."""
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
    """Factors of each group's counts in each class; 255 for the group that is most enriched against the whole file."""
    ratios = (blocks + share) / (blocks.sum(axis=1, keepdims=True) + 1) / np.maximum(share, 1e-9)
    scaled = np.rint(FULL * ratios / ratios.max(axis=1, keepdims=True))
    tables: np.ndarray = np.maximum(scaled, 1).astype(np.uint8)
    return tables


def _lengths(tables: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Bits of an index of each group in each class, less those it takes without classes: (BLOCK_CLASSES, groups)."""
    shares = tables * share
    extra: np.ndarray = np.log2(shares.sum(axis=1, keepdims=True) / tables)
    return extra
