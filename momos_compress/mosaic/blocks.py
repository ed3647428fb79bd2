"""Blocks: runs of s consecutive values of a tensor that is flattened row-major and zero-padded.

Source: Mosaic-of-Motifs (arXiv 2602.14896), section on the parameterisation. As an extension, the weight of a layer can
be cut row by row, where a row holds the weights of one output.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.tensors.records import TensorInfo

MAX_BLOCK_SIZE = 64
"""Largest block size s."""
MAX_MOTIFS = 2**24
"""Largest number of motifs k."""
CHUNK_VALUES = 2**22
"""Values handled at a time (16 MiB of float32), whatever the size of a tensor."""


@dataclass(frozen=True)
class Layout:
    """How a tensor is cut into blocks.

    Attributes:
        rows: Rows of the matrix that is cut, each zero-padded to whole blocks; None cuts the flattened tensor.
        transposed: Whether that matrix is the transpose of the tensor as (first size, all others), for layers whose
            weights have their inputs first.
    """

    rows: int | None = None
    transposed: bool = False

    def columns(self, values: int) -> int:
        """Number of values in a row of a tensor with this many values."""
        return values // (self.rows or 1)

    def row_blocks(self, values: int, s: int) -> int:
        """Number of blocks in a row of a tensor with this many values."""
        return count_blocks(self.columns(values), s)

    def count(self, values: int, s: int) -> int:
        """Number of blocks of a tensor with this many values."""
        return (self.rows or 1) * self.row_blocks(values, s)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape can be cut in this way."""
        if self.rows is None:
            return not self.transposed
        values = math.prod(shape)
        if self.rows < 1 or values % self.rows:
            return False
        return not self.transposed or (len(shape) >= 2 and shape[0] * self.rows == values)

    def matrix(self, tensor: torch.Tensor) -> torch.Tensor:
        """View the tensor as the matrix that is cut: (rows, columns)."""
        if self.transposed:
            return tensor.reshape(tensor.shape[0], -1).T
        return tensor.reshape(self.rows or 1, -1)

    def cut(self, matrix: torch.Tensor, s: int) -> torch.Tensor:
        """Cut m rows of the matrix, (m, columns), into zero-padded blocks, (m, row_blocks, s)."""
        return torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % s)).reshape(len(matrix), -1, s)

    def join(self, blocks: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Put all blocks of a tensor, (count, s), back together as the tensor of ``shape``; padding is dropped."""
        values = math.prod(shape)
        matrix = blocks.reshape(self.rows or 1, -1)[:, : self.columns(values)]
        return (matrix.T if self.transposed else matrix).reshape(shape)


FLAT = Layout()
"""The paper's cut: the flattened tensor."""


def check_block_size(s: int) -> None:
    """Check the block size.

    Raises:
        MomosError: s is not in 1..64.
    """
    if not 1 <= s <= MAX_BLOCK_SIZE:
        raise MomosError(f"block size s must lie in 1..{MAX_BLOCK_SIZE}, not {s}")


def count_blocks(values: int, s: int) -> int:
    """Number of blocks of so many values: ceil(values / s)."""
    return -(-values // s)


def motifs_for_capacity(c: float, blocks: int) -> int:
    """Number of motifs k = clamp(int(c N), 1, N) at capacity c, the paper's definition.

    Args:
        c: Capacity: the number of motifs over the number of blocks.
        blocks: Number of blocks N.

    Raises:
        MomosError: c is not in (0, 1].
    """
    if not 0 < c <= 1:
        raise MomosError(f"capacity c must lie in (0, 1], not {c:g}: it is the number of motifs over that of blocks")
    return max(1, min(int(c * blocks), blocks))


def check_motif_count(k: int) -> None:
    """Check the number of motifs.

    Raises:
        MomosError: k is not in 1..2^24.
    """
    if k < 1:
        raise MomosError(f"the number of motifs k must be at least 1, not {k}")
    if k > MAX_MOTIFS:
        raise MomosError(f"k = {k:,} motifs is over the limit of 2^24 = {MAX_MOTIFS:,}; lower `c` or `k`, or raise `s`")


def check_finite(values: torch.Tensor, offset: int, shape: tuple[int, ...]) -> None:
    """Check that no value is NaN or infinite.

    Args:
        values: Part of a flattened tensor, (m,).
        offset: Position of its first value in the flattened tensor.
        shape: Shape of the whole tensor.

    Raises:
        MomosError: One is; the message gives the first by its index in ``shape``.
    """
    if bool(torch.isfinite(values).all()):
        return
    flat = offset + int(torch.nonzero(~torch.isfinite(values))[0, 0])
    index = [int(i) for i in np.unravel_index(flat, shape)] if shape else []
    value = float(values[flat - offset])
    raise MomosError(f"{value} at index {index}; repair the weight, or leave the tensor out with `exclude`")


def iter_blocks(tensor: torch.Tensor, s: int, layout: Layout = FLAT) -> Iterator[np.ndarray]:
    """Cut a tensor into blocks, in pieces of a bounded size.

    Args:
        tensor: Floating-point values, any shape, any device.
        s: Block size.
        layout: How it is cut. With rows, a piece holds whole rows, at least one.

    Yields:
        Zero-padded blocks in order, (m, s) float32.

    Raises:
        MomosError: A value is not finite, in the tensor's own dtype or as float32.
    """
    if layout.rows is not None:
        yield from _iter_rows(tensor.detach(), s, layout)
        return
    flat, shape = tensor.detach().reshape(-1), tuple(tensor.shape)
    step = max(1, CHUNK_VALUES // s) * s
    for start in range(0, flat.numel(), step):
        values = flat[start : start + step].to(device="cpu", dtype=torch.float32)
        check_finite(values, start, shape)
        padding = -values.numel() % s
        if padding:
            values = torch.nn.functional.pad(values, (0, padding))
        yield values.contiguous().numpy().reshape(-1, s)


def _iter_rows(tensor: torch.Tensor, s: int, layout: Layout) -> Iterator[np.ndarray]:
    matrix = layout.matrix(tensor)
    step = max(1, CHUNK_VALUES // max(1, layout.row_blocks(tensor.numel(), s) * s))
    for start in range(0, len(matrix), step):
        values = matrix[start : start + step].to(device="cpu", dtype=torch.float32)
        if not bool(torch.isfinite(values).all()):
            for _ in iter_blocks(tensor, s):  # raises, with the value's index in the tensor's own shape
                pass
        yield layout.cut(values, s).reshape(-1, s).contiguous().numpy()


MAX_PADDING = 1.34
"""Most blocks of a cut by rows, as a multiple of those of the flat cut; it admits 3 x 3 kernels at s = 4."""


def row_layout(shape: Sequence[int]) -> Layout:
    """Layout with a row for each index of the first dimension; a vector is one row."""
    return Layout(shape[0] if len(shape) > 1 else 1)


def fills_rows(info: TensorInfo, s: int) -> bool:
    """Whether a cut by rows takes at most ``MAX_PADDING`` times the blocks of a flat cut."""
    return row_layout(info.shape).count(info.values, s) <= MAX_PADDING * count_blocks(info.values, s)
