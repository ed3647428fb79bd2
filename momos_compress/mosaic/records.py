"""What is known of one compressed parameter."""

import math
from dataclasses import dataclass

import torch

from momos_compress.mosaic.blocks import FLAT, Layout


@dataclass(frozen=True)
class CompressedTensor:
    """A compressed parameter: its own shape and dtype, its range of blocks, and its distortion.

    distortion: sum of squared differences over the real values. layout: how it is cut into blocks. scaled: whether each
    of its rows has a scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    first_block: int
    end_block: int
    distortion: float
    layout: Layout = FLAT
    scaled: bool = False

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.end_block - self.first_block

    @property
    def values(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def scales(self) -> int:
        """Number of scales: one a row, or none."""
        return (self.layout.rows or 0) if self.scaled else 0

    def guarded(self, size: int) -> int:
        """Length of the stored U8 tensor whose indices take ``size`` bytes: with the guard byte where there is one."""
        return size + 1 if (size,) == self.shape else size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows of blocks, and blocks of a row."""
        rows = self.layout.rows or 1
        return rows, self.blocks // rows
