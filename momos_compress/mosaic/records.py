"""The record of one compressed parameter."""

import math
from dataclasses import dataclass

import torch

from momos_compress.mosaic.blocks import FLAT, Layout


@dataclass(frozen=True)
class CompressedTensor:
    """A compressed parameter.

    Attributes:
        name: Its name in the checkpoint.
        shape: Its own shape.
        dtype: Its own dtype, in which it is decoded.
        first_block: Number of its first block, counted over all compressed parameters.
        end_block: Number of the block after its last.
        distortion: Sum of squared differences between its values and the decoded ones; padding does not count.
        layout: How it is cut into blocks.
        scaled: Whether each of its rows has a scale that multiplies the row's motifs.
        column_scaled: Whether each of its columns has a scale too, that multiplies what rows' scales gave.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    first_block: int
    end_block: int
    distortion: float
    layout: Layout = FLAT
    scaled: bool = False
    column_scaled: bool = False

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
        """Number of scales of rows: one a row, or none."""
        return (self.layout.rows or 0) if self.scaled else 0

    @property
    def columns(self) -> int:
        """Number of scales of columns: one a column, or none; padding has no columns."""
        return self.layout.columns(self.values) if self.column_scaled else 0

    def guarded(self, size: int) -> int:
        """Bytes of its stored stream, given the ``size`` of the coded indices.

        Where the stream would have the very shape of the parameter, a guard byte follows, so that no other reader
        takes it for the weight itself (docs/format.md).
        """
        return size + 1 if (size,) == self.shape else size

    @property
    def grid(self) -> tuple[int, int]:
        """Rows of blocks, and blocks in a row."""
        rows = self.layout.rows or 1
        return rows, self.blocks // rows
