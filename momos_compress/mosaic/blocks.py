"""Blocks: a tensor flattened row-major, zero-padded and cut into runs of s consecutive values.

Source: Mosaic-of-Motifs (arXiv 2602.14896), section on the parameterisation. A layer's weight can be cut row by row
instead, a row being what one output of the layer is made of.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.tensors.records import TensorInfo

MAX_BLOCK_SIZE = 64
MAX_MOTIFS = 2**24
CHUNK_VALUES = 2**22
"""Values handled at a time (16 MiB of float32), whatever the size of a tensor."""


@dataclass(frozen=True)
class Layout:
    """How a tensor is cut into blocks.

    rows None: the flattened tensor. Otherwise a matrix of so many rows, each zero-padded to whole blocks by itself.
    transposed: the matrix is the transpose of the tensor as (first size, all others), as for layers that keep their
    inputs first.
    """

    rows: int | None = None
    transposed: bool = False

    def columns(self, values: int) -> int:
        """Values of one row."""
        return values // (self.rows or 1)

    def row_blocks(self, values: int, s: int) -> int:
        """Blocks of one row."""
        return count_blocks(self.columns(values), s)

    def count(self, values: int, s: int) -> int:
        """Blocks of a tensor with this many values."""
        return (self.rows or 1) * self.row_blocks(values, s)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape can be cut so."""
        if self.rows is None:
            return not self.transposed
        values = math.prod(shape)
        if self.rows < 1 or values % self.rows:
            return False
        return not self.transposed or (len(shape) >= 2 and shape[0] * self.rows == values)

    def matrix(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor as (rows, columns)."""
        if self.transposed:
            return tensor.reshape(tensor.shape[0], -1).T
        return tensor.reshape(self.rows or 1, -1)

    def cut(self, matrix: torch.Tensor, s: int) -> torch.Tensor:
        """(m, columns), any rows of the matrix -> their blocks (m, row_blocks, s), zero-padded."""
        return torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % s)).reshape(len(matrix), -1, s)

    def join(self, blocks: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """Undo ``matrix`` and ``cut``: all blocks of a tensor, (count, s) -> the tensor of ``shape``."""
        values = math.prod(shape)
        matrix = blocks.reshape(self.rows or 1, -1)[:, : self.columns(values)]
        return (matrix.T if self.transposed else matrix).reshape(shape)


FLAT = Layout()


def check_block_size(s: int) -> None:
    """Raise MomosError unless 1 <= s <= 64."""
    if not 1 <= s <= MAX_BLOCK_SIZE:
        raise MomosError(f"block size s must lie in 1..{MAX_BLOCK_SIZE}, not {s}")


def count_blocks(values: int, s: int) -> int:
    """Number of blocks of a tensor with this many values: ceil(values / s)."""
    return -(-values // s)


def motifs_for_capacity(c: float, blocks: int) -> int:
    """k = clamp(int(c N), 1, N) for capacity 0 < c <= 1 (the paper's definition)."""
    if not 0 < c <= 1:
        raise MomosError(f"capacity c must lie in (0, 1], not {c:g}: it is the number of motifs over that of blocks")
    return max(1, min(int(c * blocks), blocks))


def check_motif_count(k: int) -> None:
    """Raise MomosError unless 1 <= k <= 2^24."""
    if k < 1:
        raise MomosError(f"the number of motifs k must be at least 1, not {k}")
    if k > MAX_MOTIFS:
        raise MomosError(f"k = {k:,} motifs is over the limit of 2^24 = {MAX_MOTIFS:,}; lower `c` or `k`, or raise `s`")


def check_finite(values: torch.Tensor, offset: int, shape: tuple[int, ...]) -> None:
    """Raise MomosError that gives the first NaN or infinity by its index in ``shape``.

    values: (m,) part of the flattened tensor, starting at flat position ``offset``.
    """
    if bool(torch.isfinite(values).all()):
        return
    flat = offset + int(torch.nonzero(~torch.isfinite(values))[0, 0])
    index = [int(i) for i in np.unravel_index(flat, shape)] if shape else []
    value = float(values[flat - offset])
    raise MomosError(f"{value} at index {index}; repair the weight, or leave the tensor out with `exclude`")


def iter_blocks(tensor: torch.Tensor, s: int, layout: Layout = FLAT) -> Iterator[np.ndarray]:
    """Yield the tensor's blocks in order, as float32 arrays (m, s) of a bounded size, zero-padded.

    In rows, a piece holds whole rows, and at least one. Raises MomosError for a value that is not finite, in the
    tensor's own dtype or as float32.
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
            for _ in iter_blocks(tensor, s):  # finds it by its index in the tensor's own shape
                pass
        yield layout.cut(values, s).reshape(-1, s).contiguous().numpy()


MAX_PADDING = 1.34
"""A tensor is cut by rows where that takes at most so many times the blocks of a flat cut (3 x 3 kernels at s = 4)."""


def row_layout(shape: Sequence[int]) -> Layout:
    """A row for each index of the first dimension; a vector is one row."""
    return Layout(shape[0] if len(shape) > 1 else 1)


def fills_rows(info: TensorInfo, s: int) -> bool:
    """Whether a tensor's rows fill whole blocks well enough."""
    return row_layout(info.shape).count(info.values, s) <= MAX_PADDING * count_blocks(info.values, s)
