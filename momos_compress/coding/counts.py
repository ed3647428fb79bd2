"""The stored counts: the number of blocks of each motif, rounded."""

from collections.abc import Iterator

import numpy as np

from momos_compress.coding.index_model import frequencies
from momos_compress.errors import FormatError

MAX_TOTAL = 2**39
"""Bound of the sum of counts; times 2^24 it still fits a signed 64-bit integer."""
_FINEST = 16
"""Most significant bits of a count that are tried."""


def store_counts(usage: np.ndarray) -> bytes:
    """Store counts, rounded to the number of significant bits that makes counts and streams together the shortest.

    Args:
        usage: Number of blocks of each motif, (k,) int64, not increasing.

    Returns:
        Variable-length integers in pairs: a fall of the count, and the number of motifs that then share it.
    """
    total = int(usage.sum())
    counts = usage >> max(0, total.bit_length() - (MAX_TOTAL.bit_length() - 2))
    candidates = [_rounded(counts, bits) for bits in range(1, _FINEST + 1)]
    stored = [b"".join(map(_varint, _steps(rounded))) for rounded in candidates]
    costs = [
        8 * len(data) - float(usage @ np.log2(frequencies(rounded)))
        for data, rounded in zip(stored, candidates, strict=True)
    ]
    return stored[int(np.argmin(costs))]


def read_counts(data: bytes, k: int) -> np.ndarray:
    """Read stored counts.

    Args:
        data: The bytes that ``store_counts`` gives.
        k: Number of motifs.

    Returns:
        The rounded counts, (k,) int64, not increasing.

    Raises:
        FormatError: The bytes are not the counts of k motifs, or add up to ``MAX_TOTAL`` or more.
    """
    if not 2 <= len(data) <= most_count_bytes(k):
        raise FormatError(f"{len(data):,} bytes of counts, which {k:,} motifs cannot have")
    values = np.array(list(_varints(data)), dtype=np.int64)
    falls, runs = values[::2], values[1::2]
    levels = 2 * falls[0] - np.cumsum(falls)
    if len(falls) != len(runs) or values.min() < 1 or levels.min() < 0 or runs.sum() != k:
        raise FormatError(f"the counts are not those of {k:,} motifs")
    if levels @ runs >= MAX_TOTAL:
        raise FormatError(f"the counts add up to 2^{MAX_TOTAL.bit_length() - 1} or more")
    return np.repeat(levels, runs)


def most_count_bytes(k: int) -> int:
    """Upper bound of the bytes of the stored counts of k motifs."""
    return 12 * k


def _rounded(counts: np.ndarray, bits: int) -> np.ndarray:
    """Round each count to so many significant bits."""
    shift = np.maximum(0, np.frexp(counts.astype(np.float64))[1].astype(np.int64) - bits)
    rounded: np.ndarray = (counts + (1 << shift >> 1)) >> shift << shift
    return rounded


def _steps(counts: np.ndarray) -> Iterator[int]:
    """The first count and how many motifs have it; then, for each next count, its fall from the last and how many."""
    starts = np.flatnonzero(np.diff(counts, prepend=-1))
    runs = np.diff(starts, append=len(counts))
    falls = -np.diff(counts[starts], prepend=0)
    falls[0] = counts[0]
    for fall, run in zip(falls.tolist(), runs.tolist(), strict=True):
        yield fall
        yield run


def _varint(value: int) -> bytes:
    """Write an integer in seven bits a byte, lowest first; the high bit of a byte says that another follows."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varints(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        if shift > 35 or (shift and not byte):
            raise FormatError("the counts hold a number that is too long")
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            yield value
            value = shift = 0
    if shift:
        raise FormatError("the counts end within a number")
