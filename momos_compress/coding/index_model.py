"""The model of a file's indices, and streams of indices under such models, by asymmetric numeral systems.

constriction codes; what its model is made of is decided here, by integers alone, so that every machine has the same.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from constriction import stream

from momos_compress.errors import FormatError

PRECISION = 24
"""Bits of constriction's fixed-point probabilities."""


MAX_ANS_MOTIFS = 2**20


BLOCKS_PER_WORD = 256
"""The most blocks that a 32-bit word may stand for; else a short file could claim any number of values."""


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
