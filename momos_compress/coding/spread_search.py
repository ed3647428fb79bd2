"""Search for levels of rows and columns that make the streams of a mosaic and their table short together."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from momos_compress.coding.index_model import PRECISION, frequencies
from momos_compress.coding.index_spread import MAX_CLASSES, Spread, bits_of
from momos_compress.coding.protocol import Grid
from momos_compress.coding.spread_counts import codes_for

_FIRST_STEP = 2.0
"""Bits of mean code length from one level to the next in the coarsest levels; each finer try halves it."""
_ROUNDS = 4
"""Most rounds at one step, each of which moves rows and then columns."""
_LEAST_GAIN = 1e-3
"""Share of the bits that a round must save for another to follow."""
_MOVES = (0, -1, 1, -2, 2)
"""How far a level may move in a round; of equal costs the first is taken."""
_PIECE = 2**19
"""Indices that are looked at in one piece."""

Read = Callable[[str], np.ndarray]
"""From a parameter's name to its indices, (blocks,)."""


@dataclass
class _Levels:
    """Levels as far as they have been improved, and the number of blocks of each motif in the classes they make.

    Attributes:
        classes: Number of classes.
        rows: Parameter -> level of each row, (rows,) int64.
        columns: Parameter -> level of each column, (columns,) int64, or (1,) where there is a single row.
        blocks: (classes, k) int64.
    """

    classes: int
    rows: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    blocks: np.ndarray


def find_spread(grids: Mapping[str, Grid], read: Read, k: int, usage: np.ndarray) -> Spread:
    """Search for levels that make streams and table together the shortest.

    A block's code length under counts of the whole file is fitted by the sum of a number for its row and one for its
    column; levels are these in coarse steps. Rows and columns then move to the levels where their blocks are the
    shortest under the counts of the classes, which follow in turn. Steps are halved while that makes the whole shorter.

    Args:
        grids: Parameter -> rows and columns of its blocks; one row where it is not cut by rows.
        read: The indices of a parameter, (blocks,).
        k: Number of motifs, at most 2^16.
        usage: Blocks of each motif, (k,) int64.

    Returns:
        The best that was found, whether or not it is shorter than one model for the whole file.
    """
    search = _Search(grids, read, k)
    levels = search.begin(usage)
    best, least = None, np.inf
    while True:
        search.settle(levels)
        spread = search.spread(levels)
        total = stream_bits(spread, levels.blocks) + 8 * len(spread.to_bytes())
        if best is not None and total >= least:
            return best
        best, least = spread, total
        if 2 * levels.classes > MAX_CLASSES:
            return best
        levels = search.halved(levels)


def stream_bits(spread: Spread, blocks: np.ndarray) -> float:
    """Bits of the streams of so many blocks of each motif in each class, (classes, k)."""
    return float((blocks[: len(spread.codes)] * spread.bits().astype(np.float64)).sum())


def blocks_of(spread: Spread, read: Read) -> np.ndarray:
    """Number of blocks of each motif in each class, (classes, k) int64."""
    classes, k = spread.codes.shape
    total = np.zeros(classes * k, dtype=np.int64)
    for name in spread.grids:
        keys = spread.classes(name).reshape(-1).astype(np.int64) * k + read(name)
        total += np.bincount(keys, minlength=len(total))
    return total.reshape(classes, k)


class _Search:
    """What moves the levels of a file's rows and columns.

    Args:
        grids: Parameter -> rows and columns of its blocks.
        read: The indices of a parameter, (blocks,).
        k: Number of motifs.
    """

    def __init__(self, grids: Mapping[str, Grid], read: Read, k: int) -> None:
        self.grids, self.read, self.k = grids, read, k

    def begin(self, usage: np.ndarray) -> _Levels:
        """The coarsest levels, from sums of a number for the row and one for the column."""
        bits = PRECISION - np.log2(frequencies(usage))
        rows, columns = {}, {}
        for name, (height, width) in self.grids.items():
            across, down = np.zeros(height), np.zeros(width)
            indices = self.read(name).reshape(height, width)
            for piece in _pieces(height, width):
                lengths = bits[indices[piece]]
                across[piece] = lengths.mean(axis=1)
                down += lengths.sum(axis=0) / height
            rows[name] = across / _FIRST_STEP
            columns[name] = (down - down.mean() if height > 1 else np.zeros(1)) / _FIRST_STEP
        lowest = {name: np.rint(levels.min()) for name, levels in columns.items()}
        rows = {name: np.rint(levels) + lowest[name] for name, levels in rows.items()}
        base = min(levels.min() for levels in rows.values())
        rows = {name: (levels - base).astype(np.int64) for name, levels in rows.items()}
        columns = {name: (np.rint(levels) - lowest[name]).astype(np.int64) for name, levels in columns.items()}
        most = max(int(rows[name].max() + columns[name].max()) for name in self.grids)
        return self._counted(min(MAX_CLASSES, max(2, most + 1)), rows, columns)

    def settle(self, levels: _Levels) -> None:
        """Move rows and columns in turn until a round saves little."""
        before = np.inf
        for _ in range(_ROUNDS):
            for axis in (0, 1):
                self._move(levels, axis)
            after = float((levels.blocks * bits_of(codes_for(levels.blocks))).sum())
            if after > before * (1 - _LEAST_GAIN):
                break
            before = after

    def halved(self, levels: _Levels) -> _Levels:
        """Levels of half the step: each moves up by one of these where the next level would cost it less than the last."""
        found: list[dict[str, np.ndarray]] = []
        table = self._table(levels)
        for axis, own in enumerate((levels.rows, levels.columns)):
            finer = {}
            for name in self.grids:
                costs = self._costs(levels, name, axis, table)
                finer[name] = 2 * own[name] + (costs[_MOVES.index(1)] < costs[_MOVES.index(-1)])
            found.append(finer)
        for name, (height, _) in self.grids.items():
            if height == 1:
                found[1][name] = np.zeros(1, dtype=np.int64)
        return self._counted(2 * levels.classes, *found)

    def spread(self, levels: _Levels) -> Spread:
        """The record of these levels; classes above the last that has blocks are left out."""
        classes = max(2, int(np.flatnonzero(levels.blocks.any(axis=1))[-1]) + 1)
        rows, columns = (
            {name: np.minimum(own, classes - 1).astype(np.uint8) for name, own in axis.items()}
            for axis in (levels.rows, levels.columns)
        )
        return Spread(codes_for(levels.blocks[:classes]), dict(self.grids), rows, columns)

    def _move(self, levels: _Levels, axis: int) -> None:
        own = (levels.rows, levels.columns)[axis]
        table = self._table(levels)
        taken = np.bincount(np.concatenate([*own.values()]), minlength=levels.classes) + 1
        stored = -np.log2(taken / taken.sum())
        for name, (height, _) in self.grids.items():
            if axis == 1 and height == 1:
                continue
            moved = own[name] + np.array(_MOVES)[:, None]
            costs = self._costs(levels, name, axis, table) + stored[np.clip(moved, 0, levels.classes - 1)]
            costs[(moved < 0) | (moved >= levels.classes)] = np.inf
            own[name] = moved[np.argmin(costs, axis=0), np.arange(moved.shape[1])]
        levels.blocks = self._counted(levels.classes, levels.rows, levels.columns).blocks

    def _table(self, levels: _Levels) -> np.ndarray:
        """Bits of each motif where levels add up to -2, -1, 0, ...: (sums * k,) float32."""
        sums = np.arange(min(_MOVES), 2 * levels.classes - 1 + max(_MOVES))
        bits = bits_of(codes_for(levels.blocks))
        return bits[np.clip(sums, 0, levels.classes - 1)].reshape(-1)

    def _costs(self, levels: _Levels, name: str, axis: int, table: np.ndarray) -> np.ndarray:
        """Bits of each row (axis 0) or column (1) after each of ``_MOVES``: (moves, rows or columns) float64."""
        costs = np.zeros((len(_MOVES), self.grids[name][axis]))
        for rows, keys in self._keys(levels, name):
            for move, cost in zip(_MOVES, costs, strict=True):
                lengths = np.take(table[(move - min(_MOVES)) * self.k :], keys)
                if axis == 0:
                    cost[rows] = lengths.sum(axis=1)
                else:
                    cost += lengths.sum(axis=0)
        return costs

    def _counted(self, classes: int, rows: dict[str, np.ndarray], columns: dict[str, np.ndarray]) -> _Levels:
        levels = _Levels(classes, *({name: np.minimum(own, classes - 1) for name, own in axis.items()}
                                    for axis in (rows, columns)), blocks=np.zeros(0))  # fmt: skip
        sums = np.zeros((2 * classes - 1) * self.k, dtype=np.int64)
        for name in self.grids:
            for _, keys in self._keys(levels, name):
                sums += np.bincount(keys.reshape(-1), minlength=len(sums))
        blocks = sums.reshape(-1, self.k)
        blocks[classes - 1] = blocks[classes - 1 :].sum(axis=0)
        levels.blocks = blocks[:classes].copy()
        return levels

    def _keys(self, levels: _Levels, name: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows, and where the bits of their blocks stand in a table by sums of levels and motifs, (rows, columns)."""
        height, width = self.grids[name]
        indices = self.read(name).reshape(height, width)
        starts = levels.columns[name] * self.k
        for rows in _pieces(height, width):
            keys = (levels.rows[name][rows] * self.k)[:, None] + starts
            yield rows, keys + indices[rows]


def _pieces(height: int, width: int) -> Iterator[slice]:
    """Slices of rows of about ``_PIECE`` blocks."""
    step = max(1, _PIECE // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))
