"""Classes of rows and columns, by which the blocks of a mosaic are coded (docs/format.md, "classes").

Weights of one output channel are of like size, and so are those of one input channel: a block's row and column say more
of its motif than the whole file does. What decodes is decided by integers alone, so that every machine has the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from momos_compress.coding.ans import IndexModel, decode_stream, encode_stream, frequencies, least_words
from momos_compress.errors import FormatError

LEVELS = 3
"""Classes of a row, and of a column; a block has one of LEVELS^2."""
CLASSES = LEVELS**2
GROUPS = 16
"""The most groups of motifs, of about as many blocks each."""
MAX_COUNTED = 2**31
"""Bound of the sum of counts: times a weight of a byte it stays below what ``frequencies`` takes."""
_ROUNDS = 12
_FULL = 255

Grid = tuple[int, int]
"""Rows and columns of a parameter's blocks."""
Read = Callable[[str], np.ndarray]
"""The indices of a parameter, by its name."""


def groups_of(counts: np.ndarray) -> np.ndarray:
    """The group of each motif (k,), from its counts (k,), not increasing: 0, 1, ... without gaps."""
    ends = np.cumsum(counts)
    sixteenth = np.minimum((ends - counts) * GROUPS // ends[-1], GROUPS - 1)
    return np.cumsum(np.diff(sixteenth, prepend=0) > 0)


@dataclass(frozen=True)
class IndexClasses:
    """tables: what multiplies the counts of each group of motifs in each class, (CLASSES, groups) in 1..255. rows,
    columns: the class of each row and of each column of a parameter, in 0..LEVELS - 1.
    """

    tables: np.ndarray
    rows: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]

    def of(self, name: str) -> np.ndarray:
        """The class of each block of a parameter: (blocks,) uint8."""
        classes: np.ndarray = self.rows[name][:, None] * np.uint8(LEVELS) + self.columns[name][None, :]
        return classes.reshape(-1)

    def to_bytes(self) -> bytes:
        """As stored: tables, how often each class of row and of column is taken, and the classes' own stream."""
        parts = [_joined(self.rows), _joined(self.columns)]
        weights = [_weights(np.bincount(part, minlength=LEVELS)) for part in parts]
        models = [IndexModel(weight.astype(np.int64)) for weight in weights]
        stream = encode_stream(list(zip(models, parts, strict=True))[::-1], sum(map(len, parts)))
        return b"".join([self.tables.tobytes(), *(weight.tobytes() for weight in weights), stream])


def read_classes(data: bytes, counts: np.ndarray, grids: Mapping[str, Grid]) -> IndexClasses:
    """Undo ``IndexClasses.to_bytes`` for parameters of these grids; FormatError where they are not theirs."""
    if int(counts.sum()) >= MAX_COUNTED:
        raise FormatError(f"the counts add up to 2^{MAX_COUNTED.bit_length() - 1} or more, too many to have classes")
    groups = int(groups_of(counts)[-1]) + 1
    head, sizes = CLASSES * groups + 2 * LEVELS, [sum(grid[axis] for grid in grids.values()) for axis in (0, 1)]
    numbers = np.frombuffer(data[:head], dtype=np.uint8)
    if len(numbers) < head or not numbers.all() or (len(data) - head) % 4:
        raise FormatError(f"the classes are not those of {groups} groups of motifs")
    models = [IndexModel(weights.astype(np.int64)) for weights in numbers[CLASSES * groups :].reshape(2, LEVELS)]
    both = decode_stream(data[head:], list(zip(models, sizes, strict=True))).astype(np.uint8)
    parts = [np.split(part, np.cumsum([grid[axis] for grid in grids.values()])[:-1]) for axis, part in
             enumerate(np.split(both, sizes[:1]))]  # fmt: skip
    rows, columns = (dict(zip(grids, part, strict=True)) for part in parts)
    return IndexClasses(numbers[: CLASSES * groups].reshape(CLASSES, groups), rows, columns)


def most_class_bytes(grids: Mapping[str, Grid]) -> int:
    """No stored classes of parameters of these grids are longer."""
    symbols = sum(rows + columns for rows, columns in grids.values())
    return CLASSES * GROUPS + 2 * LEVELS + 4 * (symbols + least_words(symbols) + 1)


class ClassCoder:
    """Streams of indices whose blocks have classes, each class under a model of its own."""

    def __init__(self, counts: np.ndarray, classes: IndexClasses) -> None:
        self._classes = classes
        group = groups_of(counts)
        self._models = [IndexModel(counts * weights[group]) for weights in classes.tables.astype(np.int64)]

    def encode(self, name: str, indices: np.ndarray) -> bytes:
        """The indices (blocks,) of a parameter -> their stream."""
        classes = self._classes.of(name)
        pieces = [(model, indices[classes == kind]) for kind, model in enumerate(self._models)]
        return encode_stream(pieces[::-1], len(indices))

    def decode(self, name: str, data: bytes) -> np.ndarray:
        """Undo ``encode``: (blocks,) int32. Raises FormatError where the stream is not exactly theirs."""
        classes = self._classes.of(name)
        lengths = np.bincount(classes, minlength=CLASSES).tolist()
        indices = np.empty(len(classes), dtype=np.int32)
        indices[np.argsort(classes, kind="stable")] = decode_stream(data, list(zip(self._models, lengths, strict=True)))
        return indices


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
    tables = np.full((CLASSES, groups), _FULL, dtype=np.uint8)
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
            bounds = np.quantile(_joined(means[axis]), np.arange(1, LEVELS) / LEVELS)
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
            taken = np.bincount(_joined(self.levels[axis]), minlength=LEVELS) + 1
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
    scaled = np.rint(_FULL * ratios / ratios.max(axis=1, keepdims=True))
    tables: np.ndarray = np.maximum(scaled, 1).astype(np.uint8)
    return tables


def _lengths(tables: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Bits that a block of a group takes in a class beyond what it takes without classes."""
    shares = tables * share
    extra: np.ndarray = np.log2(shares.sum(axis=1, keepdims=True) / tables)
    return extra


def _weights(taken: np.ndarray) -> np.ndarray:
    """How often each class is taken, (LEVELS,), as bytes of at least 1."""
    weights: np.ndarray = np.maximum(np.rint(_FULL * taken / max(1, taken.max())), 1).astype(np.uint8)
    return weights


def _joined(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    sequence: Sequence[np.ndarray] = list(parts.values())
    return np.concatenate(sequence)
