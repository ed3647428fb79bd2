"""Models of indices, and streams coded under them by asymmetric numeral systems (Duda, arXiv 1311.2540).

constriction does the coding. The probabilities it is given are computed here with integers alone, so that every machine
has the same.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from constriction import stream

from momos_compress.errors import FormatError

PRECISION = 24
"""Bits of constriction's fixed-point probabilities."""
MAX_ANS_MOTIFS = 2**20
"""Largest k that is entropy-coded."""
BLOCKS_PER_WORD = 256
"""Most blocks a 32-bit word may stand for; without a bound, a short file could claim any number of values."""


def frequencies(counts: np.ndarray) -> np.ndarray:
    """Scale counts to fixed-point probabilities, none of them zero.

    Args:
        counts: (k,) int64, not negative, with a sum in 1..2^39 - 1.

    Returns:
        (k,) int64, each at least 1, with the sum 2^24.
    """
    k, ends = len(counts), np.cumsum(counts)
    bounds = np.arange(1, k + 1) + ends * (2**PRECISION - k) // ends[-1]
    return np.diff(bounds, prepend=0)


def least_words(blocks: int) -> int:
    """Least number of 32-bit words in a stream of so many blocks."""
    return -(-blocks // BLOCKS_PER_WORD)


class IndexModel:
    """A distribution over the motifs.

    Args:
        counts: How often each motif is used, as stored, (k,) int64.
    """

    def __init__(self, counts: np.ndarray) -> None:
        # constriction scales weights w to the sum 2^24 - k and starts symbol i at i + floor(w_0 + ... + w_(i-1)). These
        # weights have that sum already: the factor is exactly 1, and every float64 in between is an exact integer.
        weights = (frequencies(counts) - 1).astype(np.float64)
        self._model = stream.model.Categorical(weights, perfect=False, lazy=False)

    def encode(self, pieces: Iterable[np.ndarray], blocks: int) -> bytes:
        """Code pieces of indices, the last piece first, to a stream of little-endian words."""
        return encode_stream(((self, piece) for piece in pieces), blocks)

    def decode(self, data: bytes, blocks: int) -> np.ndarray:
        """Decode so many indices, (blocks,) int32.

        Raises:
            FormatError: The stream is not exactly that of so many indices.
        """
        return decode_stream(data, [(self, blocks)])

    def push(self, coder: stream.stack.AnsCoder, indices: np.ndarray) -> None:
        """Push indices onto a coder's stack, the last first."""
        coder.encode_reverse(indices.astype(np.int32), self._model)

    def pop(self, coder: stream.stack.AnsCoder, count: int) -> np.ndarray:
        """Pop so many indices from a coder's stack, (count,) int32."""
        indices: np.ndarray = coder.decode(self._model, count)
        return indices


def encode_stream(pieces: Iterable[tuple[IndexModel, np.ndarray]], blocks: int) -> bytes:
    """Code pieces of indices, each under its own model, to one stream.

    Args:
        pieces: Model and indices of each piece, the last piece first: what is pushed last is popped first.
        blocks: Number of indices in all.

    Returns:
        Little-endian 32-bit words, filled with zero words up to ``least_words(blocks)``.
    """
    coder = stream.stack.AnsCoder()
    for model, piece in pieces:
        model.push(coder, piece)
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    return words.ljust(4 * least_words(blocks), b"\0")


def decode_stream(data: bytes, parts: Sequence[tuple[IndexModel, int]]) -> np.ndarray:
    """Decode the pieces of a stream.

    Args:
        data: Whole little-endian 32-bit words.
        parts: Model and number of indices of each piece, the first piece first.

    Returns:
        The indices of all pieces, one after another, (n,) int32.

    Raises:
        FormatError: The stream is not exactly that of so many indices.
    """
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
