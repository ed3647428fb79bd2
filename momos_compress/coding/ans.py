"""Indices as one ANS stream a tensor, under one model of the whole file (docs/format.md, "ans").

constriction codes; what its model is made of is decided here, by integers alone, so that every machine has the same.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from constriction import stream

from momos_compress.errors import FormatError

PRECISION = 24
"""Bits of constriction's fixed-point probabilities."""
MAX_ANS_MOTIFS = 2**20
MAX_TOTAL = 2**39
"""Bound of the sum of counts: times 2^24 it still fits a signed 64-bit integer."""
BLOCKS_PER_WORD = 256
"""The most blocks that a 32-bit word may stand for; else a short file could claim any number of values."""
_FINEST = 16


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Counts (k,) int64 >= 0 with a sum in 1..2^39 - 1 -> integers >= 1 (k,) with the sum 2^24."""
    k, ends = len(counts), np.cumsum(counts)
    bounds = np.arange(1, k + 1) + ends * (2**PRECISION - k) // ends[-1]
    return np.diff(bounds, prepend=0)


def least_words(blocks: int) -> int:
    """The least number of 32-bit words of a stream of so many blocks."""
    return -(-blocks // BLOCKS_PER_WORD)


class IndexModel:
    """The model of a file's indices, from its stored counts."""

    def __init__(self, counts: np.ndarray) -> None:
        # constriction gives symbol i the bounds i + floor(w_0 + ... + w_i-1) scaled to the sum 2^24 - k. With these
        # weights the sum is that already: the factor is exactly 1, and every float64 on the way is a small integer.
        weights = (frequencies(counts) - 1).astype(np.float64)
        self._model = stream.model.Categorical(weights, perfect=False, lazy=False)

    def encode(self, pieces: Iterable[np.ndarray], blocks: int) -> bytes:
        """Indices, the last piece first -> their stream of little-endian words."""
        return encode_stream(((self, piece) for piece in pieces), blocks)

    def decode(self, data: bytes, blocks: int) -> np.ndarray:
        """Undo ``encode``: indices (blocks,) int32. Raises FormatError where the stream is not exactly theirs."""
        return decode_stream(data, [(self, blocks)])

    def push(self, coder: stream.stack.AnsCoder, indices: np.ndarray) -> None:
        """Put indices on a coder's stack, the last first."""
        coder.encode_reverse(indices.astype(np.int32), self._model)

    def pop(self, coder: stream.stack.AnsCoder, count: int) -> np.ndarray:
        """Take so many indices from a coder's stack: int32."""
        indices: np.ndarray = coder.decode(self._model, count)
        return indices


def encode_stream(pieces: Iterable[tuple[IndexModel, np.ndarray]], blocks: int) -> bytes:
    """Indices under the model of each piece, the last piece first -> one stream of little-endian words."""
    coder = stream.stack.AnsCoder()
    for model, piece in pieces:
        model.push(coder, piece)
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    return words.ljust(4 * least_words(blocks), b"\0")


def decode_stream(data: bytes, parts: Sequence[tuple[IndexModel, int]]) -> np.ndarray:
    """Undo ``encode_stream``: so many indices under each model, int32. FormatError where they are not exactly there."""
    blocks = sum(count for _, count in parts)
    words, least = np.frombuffer(data, dtype="<u4").astype(np.uint32), least_words(blocks)
    if len(words) < least:
        raise FormatError(f"{len(words)} words of indices where {blocks:,} blocks take {least} at least")
    if len(words) > least and not words[-1]:
        raise FormatError("a zero word behind the indices")
    used = np.flatnonzero(words)
    coder = stream.stack.AnsCoder(words[: used[-1] + 1] if len(used) else words[:0])
    indices = np.concatenate([model.pop(coder, count) for model, count in parts])
    if not coder.is_empty():
        raise FormatError(f"the stream of indices does not end with the last of {blocks:,} blocks")
    return indices


def store_counts(usage: np.ndarray) -> bytes:
    """Counts (k,), not increasing, as stored: rounded to as few bits as make counts and streams the shortest."""
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
    """Undo ``store_counts``: (k,) int64; FormatError where they are not k counts."""
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
    """No stored counts of k motifs are longer."""
    return 12 * k


def _rounded(counts: np.ndarray, bits: int) -> np.ndarray:
    """Each count rounded to so many significant bits."""
    shift = np.maximum(0, np.frexp(counts.astype(np.float64))[1].astype(np.int64) - bits)
    rounded: np.ndarray = (counts + (1 << shift >> 1)) >> shift << shift
    return rounded


def _steps(counts: np.ndarray) -> Iterator[int]:
    """The first count and how often it stands, then for each other how far it is below the last, and how often."""
    starts = np.flatnonzero(np.diff(counts, prepend=-1))
    runs = np.diff(starts, append=len(counts))
    falls = -np.diff(counts[starts], prepend=0)
    falls[0] = counts[0]
    for fall, run in zip(falls.tolist(), runs.tolist(), strict=True):
        yield fall
        yield run


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
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
