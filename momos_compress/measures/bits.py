"""Bits of weights: their signs as a stream, and the 12-bit blocks that 1-D measures count.

Histograms add up, so a checkpoint larger than memory is measured tensor by tensor.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from momos_compress.measures.ctm import STRING_LENGTH

_UNIT = 2 * STRING_LENGTH
"""Bits of two blocks, which fill three bytes."""
CHUNK = _UNIT * 2**17
"""Bits handled at a time; a multiple of every window of whole blocks up to 2**18."""
_NUMPY_DTYPES = (torch.float32, torch.float64, torch.float16)


def sign_bits(weights: torch.Tensor) -> Iterator[np.ndarray]:
    """The paper's binarisation (arXiv 2602.14896), in row-major order and pieces of CHUNK bits: bool (m,), w > 0."""
    flat = weights.detach().reshape(-1)
    # NumPy compares several times faster than torch on the CPU, and has no bfloat16.
    values = flat.numpy() if flat.device.type == "cpu" and flat.dtype in _NUMPY_DTYPES else None
    for start in range(0, flat.numel(), CHUNK):
        if values is not None:
            yield values[start : start + CHUNK] > 0
        else:
            yield (flat[start : start + CHUNK] > 0).cpu().numpy()


def block_codes(bits: np.ndarray) -> np.ndarray:
    """The non-overlapping 12-bit blocks of bits (m,) as numbers, first bit highest: (m // 12,) uint16."""
    return packed_block_codes(np.packbits(bits), len(bits))


def packed_block_codes(packed: np.ndarray, count: int) -> np.ndarray:
    """The 12-bit blocks of packed bits.

    Args:
        packed: (ceil(count / 8),) uint8, first bit highest.
        count: Bits.

    Returns:
        (count // 12,) uint16; what is left at the end is dropped.
    """
    whole = count // STRING_LENGTH
    units = packed[: -(-whole * STRING_LENGTH // 8)]
    first, second = _halves(np.pad(units, (0, -len(units) % 3)) if len(units) % 3 else units)
    codes = np.empty((len(first), 2), dtype=np.uint16)
    codes[:, 0], codes[:, 1] = first, second
    return codes.reshape(-1)[:whole]


def _halves(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and the second block of each unit of three bytes."""
    units = packed.reshape(-1, 3)
    first, middle, last = units[:, 0].astype(np.uint16), units[:, 1].astype(np.uint16), units[:, 2]
    return first << 4 | middle >> 4, (middle & 0xF) << 8 | last


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
            self._count(head)
        whole = len(bits) // _UNIT * _UNIT
        self._count(bits[:whole])
        self._rest = bits[whole:].copy()

    def _count(self, bits: np.ndarray) -> None:
        # One half after the other: to put the blocks in order first would take as long again.
        for codes in _halves(np.packbits(bits)):
            self._counts += np.bincount(codes, minlength=2**STRING_LENGTH)

    def counts(self) -> np.ndarray:
        """Occurrences of each 12-bit string so far: (4096,) int64, indexed by the string as a number."""
        return self._counts + np.bincount(block_codes(self._rest), minlength=2**STRING_LENGTH)


def sign_histogram(weights: Iterable[torch.Tensor]) -> np.ndarray:
    """Histogram (4096,) int64 of the 12-bit blocks of the concatenated sign bits of these tensors."""
    histogram = BlockHistogram()
    for tensor in weights:
        for bits in sign_bits(tensor):
            histogram.add(bits)
    return histogram.counts()
