"""Search for levels of rows and columns that make the streams of a mosaic and their table short together."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.coding.index_model import PRECISION, frequencies
from momos_compress.coding.index_spread import MAX_CLASSES, Spread, bits_of
from momos_compress.coding.protocol import Grid
from momos_compress.coding.spread_counts import codes_for

_FIRST_STEP = 2.0
"""Bits of mean code length from one level to the next in the coarsest levels; each finer try halves it."""
_ROUNDS = 6
"""Most rounds at one step, each of which moves rows and then columns."""
_LEAST_GAIN = 5e-4
"""Share of the bits that a round must save for another to follow."""
_MOVES = (0, -1, 1, -2, 2)
"""How far a level may move in a round; of equal costs the first is taken."""
_PIECE = 2**16
"""Indices that a thread looks at in one piece; all that is computed of them stays in its cache."""

Read = Callable[[str], np.ndarray]
"""From a parameter's name to its indices, (blocks,)."""


@dataclass
class _Levels:
    """Levels as far as they have been improved, and the number of blocks of each motif in the classes they make.

    Attributes:
        classes: Number of classes.
        rows: Parameter -> level of each row, (rows,) int64.
        columns: Parameter -> level of each column less the zero of columns, (columns,) int64; (1,), a 0, where there is
            a single row.
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
    best, least = None, np.inf
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        search = _Search(grids, read, k, pool)
        levels = search.begin(usage)
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
    for name, (height, width) in spread.grids.items():
        indices, own = read(name).reshape(height, width), spread.classes(name)
        for rows in _pieces(height, width, len(total)):
            keys = own[rows].astype(np.int64) * k + indices[rows]
            total += np.bincount(keys.reshape(-1), minlength=len(total))
    return total.reshape(classes, k)


class _Search:
    """What moves the levels of a file's rows and columns.

    Args:
        grids: Parameter -> rows and columns of its blocks.
        read: The indices of a parameter, (blocks,).
        k: Number of motifs.
        pool: Threads that look at pieces side by side; what they find does not depend on their number.
    """

    def __init__(self, grids: Mapping[str, Grid], read: Read, k: int, pool: ThreadPoolExecutor) -> None:
        self.grids, self.read, self.k, self.pool = grids, read, k, pool

    def begin(self, usage: np.ndarray) -> _Levels:
        """The coarsest levels, from sums of a number for the row and one for the column."""
        bits = PRECISION - np.log2(frequencies(usage))
        rows: dict[str, np.ndarray] = {}
        columns: dict[str, np.ndarray] = {}
        for name, (height, width) in self.grids.items():
            across, down = np.zeros(height), np.zeros(width)
            indices = self.read(name).reshape(height, width)
            for piece in _pieces(height, width):
                lengths = bits[indices[piece]]
                across[piece] = lengths.mean(axis=1)
                down += lengths.sum(axis=0) / height
            middle = np.median(down) if height > 1 else down.mean()
            rows[name] = np.rint((across + middle - down.mean()) / _FIRST_STEP).astype(np.int64)
            columns[name] = np.rint((down - middle if height > 1 else np.zeros(1)) / _FIRST_STEP).astype(np.int64)
        base = min(int(levels.min()) for levels in rows.values())
        rows = {name: levels - base for name, levels in rows.items()}
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
        """Levels of half the step: of these, each moves up or down by one where the costs beside it say so."""
        table = self._table(levels)
        found = []
        for axis, own in enumerate((levels.rows, levels.columns)):
            finer = {}
            for name, (height, _) in self.grids.items():
                finer[name] = 2 * own[name]
                if axis == 0 or height > 1:
                    below, here, above = self._costs(levels, name, axis, table)[[1, 0, 2]]
                    # The lowest point of a parabola through the three lies beyond a quarter of the old step.
                    far = 2 * np.abs(below - above) > below - 2 * here + above
                    finer[name] += far * np.sign(below - above).astype(np.int64)
            found.append(finer)
        return self._counted(2 * levels.classes, *found)

    def spread(self, levels: _Levels) -> Spread:
        """The record of these levels; classes above the last that has blocks or a row's level are left out."""
        highest = max(int(own.max()) for own in levels.rows.values())
        classes = 1 + max(1, highest, int(np.flatnonzero(levels.blocks.any(axis=1))[-1]))
        columns = {name: np.clip(own, 1 - classes, classes - 1) for name, own in levels.columns.items()}
        zero = -min(0, *(int(own.min()) for own in columns.values()))
        return Spread(
            codes_for(levels.blocks[:classes]),
            dict(self.grids),
            {name: own.astype(np.uint8) for name, own in levels.rows.items()},
            {name: (own + zero).astype(np.uint8) for name, own in columns.items()},
            zero,
        )

    def _move(self, levels: _Levels, axis: int) -> None:
        """Move each row (axis 0) or column (1) to the cheapest of the levels near its own, its own storage included."""
        own, top = (levels.rows, levels.columns)[axis], levels.classes - 1
        table = self._table(levels)
        taken = np.bincount(np.concatenate([*own.values()]) + top, minlength=2 * top + 1) + 1
        stored = -np.log2(taken / taken.sum())
        for name, (height, _) in self.grids.items():
            if axis == 1 and height == 1:
                continue
            moved = own[name] + np.array(_MOVES)[:, None]
            costs = self._costs(levels, name, axis, table) + stored[np.clip(moved, -top, top) + top]
            costs[(moved < (0, -top)[axis]) | (moved > top)] = np.inf
            own[name] = moved[np.argmin(costs, axis=0), np.arange(moved.shape[1])]
        levels.blocks = self._counted(levels.classes, levels.rows, levels.columns).blocks

    def _table(self, levels: _Levels) -> np.ndarray:
        """Bits of each motif in the class of each sum that ``_keys`` may have after a move: (sums * k,) float32."""
        sums = np.arange(1 - levels.classes + min(_MOVES), 2 * levels.classes - 1 + max(_MOVES))
        bits = bits_of(codes_for(levels.blocks))
        return bits[np.clip(sums, 0, levels.classes - 1)].reshape(-1)

    def _costs(self, levels: _Levels, name: str, axis: int, table: np.ndarray) -> np.ndarray:
        """Bits of each row (axis 0) or column (1) after each of ``_MOVES``: (moves, rows or columns) float64."""
        height, width = self.grids[name]
        costs = np.zeros((len(_MOVES), (height, width)[axis]))
        keys_of = self._keys(levels, name)

        def piece(rows: slice) -> tuple[slice, list[np.ndarray]]:
            keys = keys_of(rows)
            tables = (table[(move - min(_MOVES)) * self.k :] for move in _MOVES)
            return rows, [np.take(each, keys).sum(axis=1 - axis) for each in tables]

        for rows, found in self.pool.map(piece, _pieces(height, width)):
            if axis == 0:
                costs[:, rows] = found
            else:
                costs += found
        return costs

    def _counted(self, classes: int, rows: dict[str, np.ndarray], columns: dict[str, np.ndarray]) -> _Levels:
        """Levels within their bounds, and the blocks of their classes."""
        top = classes - 1
        rows = {name: np.clip(own, 0, top) for name, own in rows.items()}
        columns = {name: np.clip(own, -top, top) for name, own in columns.items()}
        levels = _Levels(classes, rows, columns, np.zeros(0))
        count = (3 * classes - 2) * self.k
        sums = torch.zeros(count, dtype=torch.int64)
        for name, (height, width) in self.grids.items():
            keys_of = self._keys(levels, name)

            def piece(rows: slice, keys_of: Callable[[slice], np.ndarray] = keys_of) -> torch.Tensor:
                return torch.bincount(torch.from_numpy(keys_of(rows).reshape(-1)), minlength=count)

            for found in self.pool.map(piece, _pieces(height, width, count)):
                sums += found
        blocks = sums.reshape(-1, self.k).numpy()
        blocks[top] += blocks[:top].sum(axis=0)
        blocks[2 * top] += blocks[2 * top + 1 :].sum(axis=0)
        levels.blocks = blocks[top : 2 * top + 1].copy()
        return levels

    def _keys(self, levels: _Levels, name: str) -> Callable[[slice], np.ndarray]:
        """From some rows to where their blocks' motifs stand in tables by sums of levels, the least first."""
        indices = self.read(name).reshape(self.grids[name])
        starts = (levels.columns[name] + levels.classes - 1) * self.k

        def keys(rows: slice) -> np.ndarray:
            out: np.ndarray = (levels.rows[name][rows] * self.k)[:, None] + starts + indices[rows]
            return out

        return keys


def _pieces(height: int, width: int, least: int = 0) -> Iterator[slice]:
    """Slices of rows of about ``_PIECE`` blocks, or of at least so many."""
    step = max(1, max(_PIECE, least) // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))
