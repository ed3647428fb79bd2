"""Levels of rows and columns of blocks, which add up to classes that each have counts of their own.

The weights of rows and of columns may differ in size by factors of hundreds. A level is a logarithm of such a factor,
so the levels of a block's row and column say together how large its values are. All that a decoder computes is in
integers, so that every machine has the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from momos_compress.coding.index_model import (
    PRECISION,
    IndexModel,
    decode_stream,
    encode_stream,
    frequencies,
    least_words,
)
from momos_compress.coding.protocol import Grid
from momos_compress.coding.spread_counts import CODES, codes_from, counts_of, symbols_of
from momos_compress.errors import FormatError

MAX_CLASSES = 64
"""Most classes of blocks."""
_HEAD = 5
"""Bytes before the weights: the number of classes, the zero of columns, and the weights that each of 3 models has."""
_FULL = 255
"""Largest weight of a symbol."""


@dataclass(frozen=True)
class Spread:
    """The classes of a file's blocks.

    Attributes:
        codes: Code of the count of each motif in each class, (classes, k) uint8; ``counts_of`` has their meaning.
        grids: Parameter -> rows and columns of its blocks; one row where it is not cut by rows.
        rows: Parameter -> level of each of its rows, (rows,) uint8 below the number of classes.
        columns: Parameter -> level of each of its columns, (columns,) uint8; (1,), ``zero``, where it has a single row.
        zero: The level of columns that leaves a block in the class of its row's level.
    """

    codes: np.ndarray
    grids: Mapping[str, Grid]
    rows: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]
    zero: int

    def classes(self, name: str) -> np.ndarray:
        """The class of each block of a parameter: (rows, columns) uint8, which may be a read-only view."""
        zero, last = np.uint8(self.zero), np.uint8(len(self.codes) - 1)
        levels = np.maximum(self.rows[name][:, None] + self.columns[name][None, :], zero) - zero  # below 2^8 throughout
        return np.broadcast_to(np.minimum(levels, last), self.grids[name])

    def bits(self) -> np.ndarray:
        """Code length of each motif in each class, from the stored counts: (classes, k) float32."""
        return bits_of(self.codes)

    def to_bytes(self) -> bytes:
        """Store the number of classes, three models and one stream: of counts, levels of rows, levels of columns."""
        parts = [symbols_of(self.codes).reshape(-1), _joined(self.rows), _joined(stored_columns(self))]
        weights = [_weights(part) for part in parts]
        models = [IndexModel(weight.astype(np.int64)) for weight in weights]
        stream = encode_stream(list(zip(models, parts, strict=True))[::-1], sum(map(len, parts)))
        head = bytes([len(self.codes), self.zero, *map(len, weights)])
        return b"".join([head, *(weight.tobytes() for weight in weights), stream])


def bits_of(codes: np.ndarray) -> np.ndarray:
    """Code length of each motif in each class whose counts have these codes: (classes, k) float32."""
    shares = np.stack([frequencies(counts) for counts in counts_of(codes)])
    bits: np.ndarray = (PRECISION - np.log2(shares)).astype(np.float32)
    return bits


def stored_columns(spread: Spread) -> dict[str, np.ndarray]:
    """Levels of the columns of the parameters that have more than one row; those of others are not stored."""
    return {name: levels for name, levels in spread.columns.items() if spread.grids[name][0] > 1}


def read_spread(data: bytes, k: int, grids: Mapping[str, Grid]) -> Spread:
    """Read stored classes.

    Args:
        data: The bytes that ``Spread.to_bytes`` gives.
        k: Number of motifs.
        grids: Parameter -> rows and columns of its blocks; one row where it is not cut by rows.

    Raises:
        FormatError: The bytes are not the classes of these parameters.
    """
    numbers = np.frombuffer(data, dtype=np.uint8)
    classes, zero, *sizes = numbers[:_HEAD].tolist() if len(numbers) >= _HEAD else [0] * _HEAD
    start = _HEAD + sum(sizes)
    if (
        not 2 <= classes <= MAX_CLASSES
        or zero >= classes
        or min(sizes) < 2
        or any(size > most for size, most in zip(sizes, (CODES, classes, 2 * classes), strict=True))
        or len(numbers) < start
        or (len(numbers) - start) % 4
    ):
        raise FormatError(f"the spread is not that of {k:,} motifs")
    weights = np.split(numbers[_HEAD:start], np.cumsum(sizes)[:-1])
    if not all(weight.any() for weight in weights):
        raise FormatError("the spread has a model without weights")
    models = [IndexModel(weight.astype(np.int64)) for weight in weights]
    tall = [name for name, grid in grids.items() if grid[0] > 1]
    ends = [classes * k, sum(rows for rows, _ in grids.values()), sum(grids[name][1] for name in tall)]
    symbols = decode_stream(data[start:], list(zip(models, ends, strict=True)))
    coded, rows, columns = np.split(symbols, np.cumsum(ends)[:-1])
    codes = codes_from(coded.reshape(classes, k))
    if not codes.any(axis=1).all():
        raise FormatError("the spread has a class without counts")
    alone = {name: np.full(1, zero, dtype=np.uint8) for name in grids}
    return Spread(
        codes,
        dict(grids),
        _split(rows, {name: grid[0] for name, grid in grids.items()}),
        alone | _split(columns, {name: grids[name][1] for name in tall}),
        zero,
    )


def most_spread_bytes(k: int, grids: Mapping[str, Grid]) -> int:
    """Upper bound of the bytes of the stored classes of parameters with these rows and columns of blocks."""
    levels = sum(rows + (columns if rows > 1 else 0) for rows, columns in grids.values())
    symbols = MAX_CLASSES * k + levels
    return _HEAD + CODES + 3 * MAX_CLASSES + 4 * (symbols + least_words(symbols) + 1)


def _weights(symbols: np.ndarray) -> np.ndarray:
    """Weights of the symbols 0, 1, ... up to the largest there is, at least two: uint8, 0 only for those not there."""
    taken = np.bincount(symbols, minlength=2)
    if not len(symbols):
        return np.ones(2, dtype=np.uint8)
    scaled = np.maximum(np.rint(_FULL * taken / taken.max()), taken > 0)
    weights: np.ndarray = scaled.astype(np.uint8)
    return weights


def _joined(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """Concatenate the arrays of all parameters, of which there may be none."""
    return np.concatenate([np.zeros(0, dtype=np.uint8), *parts.values()])


def _split(levels: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Undo ``_joined`` for parameters with so many levels each."""
    ends = np.cumsum(list(sizes.values()), dtype=np.int64)[:-1]
    return dict(zip(sizes, np.split(levels.astype(np.uint8), ends), strict=True)) if sizes else {}
