"""Matrices of bits: a weight's signs and quantised bit-planes, and the 4 x 4 blocks that 2-D measures count."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.measures.bits import CHUNK
from momos_compress.measures.ctm import MATRIX_SIDE

_ROW = 2 * MATRIX_SIDE
"""Bits of a row in two blocks, which fill a byte."""
CODES = 2 ** (MATRIX_SIDE * MATRIX_SIDE)
"""Distinct binary 4 x 4 blocks."""
MAX_PLANES = 16
"""Bits that values are quantised to at most."""


def as_matrix(weight: torch.Tensor) -> torch.Tensor:
    """A weight of two or more dimensions as (out, rest), as QuBD sees it (arXiv 2605.15551); MomosError for others."""
    if weight.dim() < 2:
        raise MomosError(f"a tensor of shape {list(weight.shape)} has no rows and columns; two dimensions are needed")
    return weight.detach().reshape(len(weight), math.prod(weight.shape[1:]))


def matrix_codes(bits: np.ndarray) -> np.ndarray:
    """The non-overlapping 4 x 4 blocks of a binary matrix as numbers, the first row's first bit highest.

    Args:
        bits: (m, n), zero or not.

    Returns:
        (m // 4 * (n // 4),) uint16, in any order; what is left over at the border is dropped.
    """
    rows, columns = (side // MATRIX_SIDE * MATRIX_SIDE for side in bits.shape)
    if not rows or not columns:
        return np.zeros(0, dtype=np.uint16)
    packed = np.packbits(bits[:rows, :columns], axis=1).reshape(rows // MATRIX_SIDE, MATRIX_SIDE, -1)
    a, b, c, d = (packed[:, row].astype(np.uint16) for row in range(MATRIX_SIDE))
    left = (a & 0xF0) << 8 | (b & 0xF0) << 4 | c & 0xF0 | d >> 4
    right = (a & 0xF) << 12 | (b & 0xF) << 8 | (c & 0xF) << 4 | d & 0xF
    if columns % _ROW:
        right = right[:, :-1]
    return np.concatenate([left.reshape(-1), right.reshape(-1)])


def _tiles(matrix: torch.Tensor) -> Iterator[torch.Tensor]:
    """Cut a matrix into pieces of bounded size whose borders no 4 x 4 block crosses."""
    rows, columns = (side // MATRIX_SIDE * MATRIX_SIDE for side in matrix.shape)
    width = max(_ROW, min(columns, CHUNK // MATRIX_SIDE // _ROW * _ROW))
    height = max(MATRIX_SIDE, CHUNK // width // MATRIX_SIDE * MATRIX_SIDE)
    for top in range(0, rows, height):
        for left in range(0, columns, width):
            yield matrix[top : min(top + height, rows), left : min(left + width, columns)]


def sign_matrix_histogram(weight: torch.Tensor) -> np.ndarray:
    """Histogram (65536,) int64 of the 4 x 4 blocks of a weight's sign bits as (out, rest), 1 where w > 0."""
    counts = np.zeros(CODES, dtype=np.int64)
    for tile in _tiles(as_matrix(weight)):
        counts += np.bincount(matrix_codes((tile > 0).cpu().numpy()), minlength=CODES)
    return counts


def quantisation_range(weight: torch.Tensor, percentile: float | None) -> tuple[float, float]:
    """The range that values are quantised over.

    Args:
        weight: Values of any shape.
        percentile: p in (50, 100] takes the percentiles 100 - p and p, by linear interpolation; None the least and the
            greatest value.

    Raises:
        MomosError: A value is NaN or infinite, or ``percentile`` is out of range.
    """
    if percentile is not None and not 50 < percentile <= 100:
        raise MomosError(f"`percentile` must lie above 50 and at most at 100, not {percentile}")
    low, high = (float(bound) for bound in torch.aminmax(weight))
    if not math.isfinite(low) or not math.isfinite(high):
        raise MomosError("NaN or infinite values have no quantisation range; repair or leave out the tensor")
    if percentile is not None:
        values = weight.detach().reshape(-1).cpu().to(torch.float64).numpy()
        low, high = (float(bound) for bound in np.percentile(values, [100 - percentile, percentile]))
    return low, high


def plane_histograms(weight: torch.Tensor, planes: int, percentile: float | None = None) -> np.ndarray:
    """Count the 4 x 4 blocks of each bit-plane of a quantised weight.

    A value's code is round((w - low) / (high - low) * (2^b - 1)), half to even and clamped, in float64, so that every
    device gives the same. A constant tensor has the code 0 throughout.

    Args:
        weight: Of two or more dimensions, counted as (out, rest).
        planes: b, 1 to 16.
        percentile: p in (50, 100] quantises over the percentiles 100 - p to p; None over [min, max].

    Returns:
        (planes, 65536) int64, most significant plane first; zeros where a side is under 4.

    Raises:
        MomosError: The weight has no rows and columns or holds NaN or infinity, or a number is out of range.
    """
    if not 1 <= planes <= MAX_PLANES:
        raise MomosError(f"`planes` must lie in 1 to {MAX_PLANES}, not {planes}")
    matrix = as_matrix(weight)
    counts = np.zeros((planes, CODES), dtype=np.int64)
    if min(matrix.shape) < MATRIX_SIDE:
        return counts
    low, high = quantisation_range(matrix, percentile)
    top = 2**planes - 1
    for tile in _tiles(matrix):
        if high > low:
            scaled = tile.to(torch.float64, copy=True).sub_(low).div_(high - low).mul_(top).round_().clamp_(0, top)
            codes = scaled.to(torch.uint8 if planes <= 8 else torch.int32).cpu().numpy()
        else:
            codes = np.zeros(tile.shape, dtype=np.uint8)
        for plane in range(planes):
            bits = codes & (1 << (planes - 1 - plane))
            counts[plane] += np.bincount(matrix_codes(bits != 0 if planes > 8 else bits), minlength=CODES)
    return counts
