"""Classes of rows and columns, and streams of indices whose blocks have them.

Weights of one output channel are of like size, and so are those of one input channel: a block's row and column say more
of its motif than the whole file does. What decodes is decided by integers alone, so that every machine has the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from momos_compress.coding.index_model import IndexModel, decode_stream, encode_stream, least_words
from momos_compress.errors import FormatError

LEVELS = 3
"""Classes of a row, and of a column; a block has one of LEVELS^2."""


CLASSES = LEVELS**2
FULL = 255
"""The largest number that a byte holds."""


GROUPS = 16
"""The most groups of motifs, of about as many blocks each."""


MAX_COUNTED = 2**31
"""Bound of the sum of counts: times a weight of a byte it stays below what ``frequencies`` takes."""


Grid = tuple[int, int]
"""Rows and columns of a parameter's blocks."""


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
        parts = [joined(self.rows), joined(self.columns)]
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


def _weights(taken: np.ndarray) -> np.ndarray:
    """How often each class is taken, (LEVELS,), as bytes of at least 1."""
    weights: np.ndarray = np.maximum(np.rint(FULL * taken / max(1, taken.max())), 1).astype(np.uint8)
    return weights


def joined(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The arrays of all parameters, one after the other."""
    sequence: Sequence[np.ndarray] = list(parts.values())
    return np.concatenate(sequence)
