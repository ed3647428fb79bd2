"""Classes of rows and columns of blocks, and streams of indices with a model for each pair of classes.

Weights of one output channel are similar in size, and so are those of one input channel, so the row and the column of a
block say more about its motif than counts over the whole file do. All that a decoder computes is in integers, so that
every machine has the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from momos_compress.coding.class_stream import decode_by_class, encode_by_class
from momos_compress.coding.index_model import IndexModel, decode_stream, encode_stream, least_words
from momos_compress.coding.protocol import Grid
from momos_compress.errors import FormatError

LEVELS = 3
"""Number of classes of a row, and of a column."""
BLOCK_CLASSES = LEVELS**2
"""Number of classes of a block: a pair of its row's and its column's."""
FULL = 255
"""Largest factor in a class's table, which has a byte for each."""
GROUPS = 16
"""Most groups of motifs; each has about the same number of blocks."""
MAX_COUNTED = 2**31
"""Bound of the sum of counts; times a factor of a byte it stays below 2^39, the bound of ``frequencies``."""


def groups_of(counts: np.ndarray) -> np.ndarray:
    """Group motifs of similar use.

    Args:
        counts: The stored counts, (k,), not increasing.

    Returns:
        The group of each motif, (k,): 0, 1, ... without gaps.
    """
    ends = np.cumsum(counts)
    sixteenth = np.minimum((ends - counts) * GROUPS // ends[-1], GROUPS - 1)
    return np.cumsum(np.diff(sixteenth, prepend=0) > 0)


@dataclass(frozen=True)
class IndexClasses:
    """The classes of a file.

    Attributes:
        tables: Factor of the counts of each group of motifs in each class of blocks, (BLOCK_CLASSES, groups) in 1..255.
        rows: Parameter -> the class of each of its rows, (rows,) in 0..LEVELS - 1.
        columns: Parameter -> the class of each of its columns, (columns,) in 0..LEVELS - 1.
    """

    tables: np.ndarray
    rows: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]

    def of(self, name: str) -> np.ndarray:
        """The class of each block of a parameter: (blocks,) uint8."""
        classes: np.ndarray = self.rows[name][:, None] * np.uint8(LEVELS) + self.columns[name][None, :]
        return classes.reshape(-1)

    def to_bytes(self) -> bytes:
        """Store the tables, how often each class of rows and of columns occurs, and a stream of the classes."""
        parts = [joined(self.rows), joined(self.columns)]
        weights = [_weights(np.bincount(part, minlength=LEVELS)) for part in parts]
        models = [IndexModel(weight.astype(np.int64)) for weight in weights]
        stream = encode_stream(list(zip(models, parts, strict=True))[::-1], sum(map(len, parts)))
        return b"".join([self.tables.tobytes(), *(weight.tobytes() for weight in weights), stream])


def read_classes(data: bytes, counts: np.ndarray, grids: Mapping[str, Grid]) -> IndexClasses:
    """Read stored classes.

    Args:
        data: The bytes that ``IndexClasses.to_bytes`` gives.
        counts: The stored counts, (k,).
        grids: Parameter -> rows and columns of its blocks, for each parameter that is cut by rows.

    Raises:
        FormatError: The bytes are not the classes of these parameters.
    """
    if int(counts.sum()) >= MAX_COUNTED:
        raise FormatError(f"the counts add up to 2^{MAX_COUNTED.bit_length() - 1} or more, too many to have classes")
    groups = int(groups_of(counts)[-1]) + 1
    head, sizes = BLOCK_CLASSES * groups + 2 * LEVELS, [sum(grid[axis] for grid in grids.values()) for axis in (0, 1)]
    numbers = np.frombuffer(data[:head], dtype=np.uint8)
    if len(numbers) < head or not numbers.all() or (len(data) - head) % 4:
        raise FormatError(f"the classes are not those of {groups} groups of motifs")
    models = [IndexModel(weights.astype(np.int64)) for weights in numbers[BLOCK_CLASSES * groups :].reshape(2, LEVELS)]
    both = decode_stream(data[head:], list(zip(models, sizes, strict=True))).astype(np.uint8)
    parts = [np.split(part, np.cumsum([grid[axis] for grid in grids.values()])[:-1]) for axis, part in
             enumerate(np.split(both, sizes[:1]))]  # fmt: skip
    rows, columns = (dict(zip(grids, part, strict=True)) for part in parts)
    return IndexClasses(numbers[: BLOCK_CLASSES * groups].reshape(BLOCK_CLASSES, groups), rows, columns)


def most_class_bytes(grids: Mapping[str, Grid]) -> int:
    """Upper bound of the bytes of the stored classes of parameters with these rows and columns of blocks."""
    symbols = sum(rows + columns for rows, columns in grids.values())
    return BLOCK_CLASSES * GROUPS + 2 * LEVELS + 4 * (symbols + least_words(symbols) + 1)


class ClassCoder:
    """Codes the indices of a parameter with a model for each class of blocks.

    Args:
        counts: The stored counts, (k,).
        classes: The classes of the file.
    """

    def __init__(self, counts: np.ndarray, classes: IndexClasses) -> None:
        self._classes = classes
        group = groups_of(counts)
        self._models = [IndexModel(counts * weights[group]) for weights in classes.tables.astype(np.int64)]

    def encode(self, name: str, indices: np.ndarray) -> bytes:
        """Code the indices of a parameter, (blocks,), to a stream."""
        return encode_by_class(self._models, self._classes.of(name), indices)

    def decode(self, name: str, data: bytes) -> np.ndarray:
        """Decode the indices of a parameter, (blocks,) int32.

        Raises:
            FormatError: The stream is not exactly that of so many indices.
        """
        return decode_by_class(self._models, self._classes.of(name), data)


def _weights(taken: np.ndarray) -> np.ndarray:
    """Scale how often each class occurs, (LEVELS,), to bytes of at least 1."""
    weights: np.ndarray = np.maximum(np.rint(FULL * taken / max(1, taken.max())), 1).astype(np.uint8)
    return weights


def joined(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Concatenate the arrays of all parameters."""
    sequence: Sequence[np.ndarray] = list(parts.values())
    return np.concatenate(sequence)
