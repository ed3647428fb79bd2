"""Sign bits of weights, and histograms of their 12-bit blocks.

Histograms add up, so a checkpoint larger than memory is measured tensor by tensor.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from momos_compress.ctm import STRING_LENGTH

CHUNK = 2**22
_UNIT = 2 * STRING_LENGTH  # 24 bits: two blocks in three bytes


def sign_bits(weights: torch.Tensor) -> Iterator[np.ndarray]:
    """The paper's binarisation, in row-major order and pieces of bounded size: bool (m,), True where w > 0."""
    flat = weights.detach().reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        yield (flat[start : start + CHUNK] > 0).cpu().numpy()


class BlockHistogram:
    """Counts the non-overlapping 12-bit blocks of a stream of bits; what is left at the end is dropped."""

    def __init__(self) -> None:
        self._counts = np.zeros(2**STRING_LENGTH, dtype=np.int64)
        self._rest = np.zeros(0, dtype=bool)

    def add(self, bits: np.ndarray) -> None:
        """Append bits (m,) to the stream."""
        bits = np.concatenate([self._rest, bits])
        whole = len(bits) // _UNIT * _UNIT
        self._counts += _count(bits[:whole])
        self._rest = bits[whole:]

    def counts(self) -> np.ndarray:
        """Occurrences of each 12-bit string so far, (4096,) int64, indexed as in ``ctm.string_complexities``."""
        counts = self._counts.copy()
        if len(self._rest) >= STRING_LENGTH:
            counts[int("".join("01"[b] for b in self._rest[:STRING_LENGTH].astype(int)), 2)] += 1
        return counts


def _count(bits: np.ndarray) -> np.ndarray:
    first, middle, last = np.packbits(bits).reshape(-1, 3).T.astype(np.uint16)
    even, odd = first << 4 | middle >> 4, (middle & 0xF) << 8 | last
    counts: np.ndarray = np.bincount(even, minlength=2**STRING_LENGTH) + np.bincount(odd, minlength=2**STRING_LENGTH)
    return counts


def sign_histogram(weights: Iterable[torch.Tensor]) -> np.ndarray:
    """Histogram (4096,) of the 12-bit blocks of the concatenated sign bits of these tensors."""
    histogram = BlockHistogram()
    for tensor in weights:
        for bits in sign_bits(tensor):
            histogram.add(bits)
    return histogram.counts()
