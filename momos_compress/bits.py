"""Sign bits of weights, and histograms of their 12-bit blocks.

Histograms add up, so a checkpoint larger than memory is measured tensor by tensor.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from momos_compress.ctm import STRING_LENGTH

_UNIT = 2 * STRING_LENGTH  # 24 bits: two blocks in three bytes
CHUNK = _UNIT * 2**17
_NUMPY_DTYPES = (torch.float32, torch.float64, torch.float16)


def sign_bits(weights: torch.Tensor) -> Iterator[np.ndarray]:
    """The paper's binarisation, in row-major order and pieces of bounded size: bool (m,), True where w > 0."""
    flat = weights.detach().reshape(-1)
    # numpy compares several times faster than torch on the CPU, and has no bfloat16.
    values = flat.numpy() if flat.device.type == "cpu" and flat.dtype in _NUMPY_DTYPES else None
    for start in range(0, flat.numel(), CHUNK):
        if values is not None:
            yield values[start : start + CHUNK] > 0
        else:
            yield (flat[start : start + CHUNK] > 0).cpu().numpy()


class BlockHistogram:
    """Counts the non-overlapping 12-bit blocks of a stream of bits; what is left at the end is dropped."""

    def __init__(self) -> None:
        self._counts = np.zeros(2**STRING_LENGTH, dtype=np.int64)
        self._rest = np.zeros(0, dtype=bool)

    def add(self, bits: np.ndarray) -> None:
        """Append bits (m,) to the stream."""
        if len(self._rest):
            missing = _UNIT - len(self._rest)
            head, bits = np.concatenate([self._rest, bits[:missing]]), bits[missing:]
            if len(head) < _UNIT:
                self._rest = head
                return
            _count(head, self._counts)
        whole = len(bits) // _UNIT * _UNIT
        _count(bits[:whole], self._counts)
        self._rest = bits[whole:].copy()

    def counts(self) -> np.ndarray:
        """Occurrences of each 12-bit string so far, (4096,) int64, indexed as in ``ctm.string_complexities``."""
        counts = self._counts.copy()
        if len(self._rest) >= STRING_LENGTH:
            counts[int("".join("01"[b] for b in self._rest[:STRING_LENGTH].astype(int)), 2)] += 1
        return counts


def _count(bits: np.ndarray, counts: np.ndarray) -> None:
    """Add the blocks of whole units of bits to ``counts``."""
    packed = np.packbits(bits).reshape(-1, 3)
    first, middle, last = packed[:, 0].astype(np.uint16), packed[:, 1].astype(np.uint16), packed[:, 2]
    counts += np.bincount(first << 4 | middle >> 4, minlength=2**STRING_LENGTH)
    counts += np.bincount((middle & 0xF) << 8 | last, minlength=2**STRING_LENGTH)


def sign_histogram(weights: Iterable[torch.Tensor]) -> np.ndarray:
    """Histogram (4096,) of the 12-bit blocks of the concatenated sign bits of these tensors."""
    histogram = BlockHistogram()
    for tensor in weights:
        for bits in sign_bits(tensor):
            histogram.add(bits)
    return histogram.counts()
