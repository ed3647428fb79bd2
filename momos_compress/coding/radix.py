"""Indices as digits of base k, several in a word of whole bytes, for few motifs (docs/format.md, "radix").

With three motifs, a packed index takes 2 bits. Five indices are one number below 3^5 = 243, which fits a byte, so an
index takes 1.6 bits; log2 3 = 1.585 is the least for even use. An index can be read without decoding those before it,
by a few divisions, on a GPU as well. Where motifs are used unevenly, entropy coding takes fewer bits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
import torch

from momos_compress.coding.protocol import Decoder, Encoded, Indices, Part, Stream
from momos_compress.errors import FormatError

MAX_RADIX_MOTIFS = 16
"""Largest k; beyond it, words save a tenth of a bit an index at most."""
LONGEST_WORD = 7
"""Bytes of the longest word, whose numbers all fit a signed 64-bit integer."""


@cache
def word_of(k: int) -> tuple[int, int]:
    """Find the word with the fewest bits a digit, the shortest of several.

    Args:
        k: The base.

    Returns:
        Bytes of a word, and digits in it.

    Examples:
        >>> word_of(3)
        (1, 5)
        >>> word_of(7)
        (6, 17)
    """
    words = [(size, _digits_in(size, k)) for size in range(1, LONGEST_WORD + 1)]
    return min(words, key=lambda word: Fraction(word[0], word[1]))


def stream_size(k: int, blocks: int) -> int:
    """Number of bytes of so many indices: whole words, then only the bytes that the last few digits need."""
    size, digits = word_of(k)
    words, rest = divmod(blocks, digits)
    return size * words + _bytes_for(k, rest)


def to_words(indices: np.ndarray, k: int) -> bytes:
    """Write indices as words.

    Args:
        indices: Integers below k, (n,).
        k: The base.

    Returns:
        ceil(n / digits) little-endian words; the first index in a word is its lowest digit.
    """
    size, digits = word_of(k)
    grouped = np.zeros((-(-len(indices) // digits), digits), dtype=np.int64)
    grouped.reshape(-1)[: len(indices)] = indices
    words = np.zeros(len(grouped), dtype="<i8")
    for digit in reversed(range(digits)):
        words = words * k + grouped[:, digit]
    return np.ascontiguousarray(words.view(np.uint8).reshape(-1, 8)[:, :size]).tobytes()


def from_words(data: torch.Tensor, k: int) -> torch.Tensor:
    """Read indices from words, on the device of the bytes.

    Args:
        data: Whole words, (bytes,) uint8.
        k: The base.

    Returns:
        All digits of all words, (words * digits,) int32, zeros that fill the last word included.

    Raises:
        FormatError: A word is too large for its number of digits.
    """
    size, digits = word_of(k)
    columns = data.view(-1, size).long()
    words = torch.zeros(len(columns), dtype=torch.int64, device=data.device)
    for byte in range(size):
        words |= columns[:, byte] << 8 * byte
    out = torch.empty(len(words), digits, dtype=torch.int32, device=data.device)
    for digit in range(digits):
        rest = words // k
        out[:, digit] = (words - rest * k).int()
        words = rest
    if bool((words != 0).any()):
        raise FormatError(f"a word of indices is no number of {digits} digits of base {k}")
    return out.reshape(-1)


@dataclass(frozen=True)
class RadixCoding:
    """Whole words of base-k digits, never longer than packed indices."""

    features: tuple[str, ...] = ("radix",)
    tables: tuple[str, ...] = ()
    motifs: tuple[int, int] = (2, MAX_RADIX_MOTIFS)

    def encode(self, indices: Indices) -> Encoded:
        """Code piece by piece, at the time when the bytes are read; a word may span two pieces."""
        k = indices.k

        def stream(part: Part) -> Stream:
            return Stream(lambda: _pieces(indices.read(part.name), k), stream_size(k, part.blocks))

        return Encoded("radix", {}, stream)

    def check_tables(self, k: int, parts: Sequence[Part], sizes: Mapping[str, int]) -> None:
        """Accept; this coding has no tables."""

    def stream_bytes(self, k: int, part: Part, stored: int) -> int:
        """Number of bytes of the parameter's indices, which the reader compares with what is stored."""
        return stream_size(k, part.blocks)

    def decoder(self, k: int, parts: Sequence[Part], table: Callable[[str], bytes]) -> Decoder:
        """Return a decoder that divides on the device of the stream."""

        def decode(part: Part, data: torch.Tensor) -> torch.Tensor:
            if len(data) != stream_size(k, part.blocks):
                raise FormatError(f"{len(data)} bytes of indices where {stream_size(k, part.blocks)} belong")
            digits = from_words(torch.nn.functional.pad(data, (0, -len(data) % word_of(k)[0])), k)
            if bool(digits[part.blocks :].any()):
                raise FormatError("a digit behind the last index is not zero")
            return digits[: part.blocks].contiguous()

        return decode


RADIX = RadixCoding()


def _digits_in(size: int, k: int) -> int:
    """Number of base-k digits that fit so many bytes: the largest n with k^n <= 256^size."""
    digits = 0
    while k ** (digits + 1) <= 256**size:
        digits += 1
    return digits


def _bytes_for(k: int, digits: int) -> int:
    """Number of bytes of the largest number with so many base-k digits."""
    return -(-(k**digits - 1).bit_length() // 8) if digits else 0


def _pieces(pieces: Iterator[np.ndarray], k: int) -> Iterator[bytes]:
    digits, rest = word_of(k)[1], np.zeros(0, dtype=np.int64)
    for piece in pieces:
        rest = np.concatenate([rest, piece])
        whole = len(rest) // digits * digits
        yield to_words(rest[:whole], k)
        rest = rest[whole:]
    yield to_words(rest, k)[: _bytes_for(k, len(rest))]
