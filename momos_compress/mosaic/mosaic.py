"""The mosaic: the motif that stands for each block, gathered one tensor at a time."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.mosaic.blocks import CHUNK_VALUES, FLAT, Layout
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.tensors.records import TensorInfo


@dataclass(frozen=True)
class Mosaic:
    """A projected checkpoint.

    Attributes:
        codebook: The motifs as they are stored, (k, s), most used first.
        step: What an int8 codebook's values are multiples of; None for a floating-point codebook.
        usage: Number of blocks of each motif, (k,) int64.
        tensors: The compressed parameters in block order.
        scales: Codes of the rows of all scaled parameters in the order of ``tensors``, uint8; None without any.
        columns: Codes of the columns of all parameters that have those, in the same order, uint8; None without any.
        energy: Sum of squares over all compressed parameters.
        sampled_blocks: Number of blocks that the motifs were fitted to.
    """

    codebook: torch.Tensor
    step: float | None
    usage: np.ndarray
    tensors: tuple[CompressedTensor, ...]
    scales: torch.Tensor | None
    columns: torch.Tensor | None
    energy: float
    sampled_blocks: int
    _spool: IO[bytes]
    _order: np.ndarray

    @property
    def k(self) -> int:
        """Number of motifs."""
        return len(self.codebook)

    @property
    def blocks(self) -> int:
        """Number of blocks of all tensors."""
        return self.tensors[-1].end_block if self.tensors else 0

    @property
    def distortion(self) -> float:
        """Sum of squared differences over all compressed parameters; padding does not count."""
        return sum(tensor.distortion for tensor in self.tensors)

    @property
    def entropy(self) -> float:
        """Entropy of an index in bits: the least mean length of a code for indices that ignores where blocks lie."""
        used = self.usage[self.usage > 0] / max(1, self.blocks)
        return abs(float(used @ np.log2(used)))

    def indices(self, tensor: CompressedTensor, *, backwards: bool = False) -> Iterator[np.ndarray]:
        """Read the indices of one parameter in pieces.

        Args:
            tensor: One of ``tensors``.
            backwards: Whether the last piece comes first; within a piece the order stays.

        Yields:
            Rows of ``codebook``, (n,). All but the last piece have a multiple of 8 of them.
        """
        width, step = self._order.itemsize, CHUNK_VALUES
        starts = range(tensor.first_block, tensor.end_block, step)
        for start in reversed(starts) if backwards else starts:
            count = min(step, tensor.end_block - start)
            self._spool.seek(start * width)
            raw = np.frombuffer(self._spool.read(count * width), dtype=self._order.dtype)
            yield self._order[raw]


def spool_out(spool: IO[bytes], data: bytes | memoryview, what: str = "the mosaic") -> None:
    """Write to a temporary file, and leave nothing to be written later.

    Args:
        spool: The file.
        data: What is written, where the file stands.
        what: What it is, for the message.

    Raises:
        MomosError: The disk is full or fails.
    """
    try:
        spool.write(data)
        spool.flush()
    except OSError as error:
        raise MomosError(
            f"no room for {what} beside the output file: {error.strerror}; free some, or choose another `output`"
        ) from error


class MosaicBuilder:
    """Gathers the indices of one tensor after another in a temporary file, which the mosaic then reads.

    Args:
        k: Number of motifs, in any order until ``finish`` sorts them.
        spool_directory: Where the temporary file lies; None leaves the choice to the system.

    Attributes:
        usage: Number of blocks of each motif so far, (k,) int64.
    """

    def __init__(self, k: int, *, spool_directory: Path | None = None) -> None:
        self.usage = np.zeros(k, dtype=np.int64)
        self._width = np.dtype(np.min_scalar_type(k - 1))
        self._spool = tempfile.TemporaryFile(dir=spool_directory)  # noqa: SIM115  the mosaic keeps it
        self._tensors: list[CompressedTensor] = []
        self._scales: list[torch.Tensor] = []
        self._columns: list[torch.Tensor] = []

    def add(
        self,
        info: TensorInfo,
        indices: np.ndarray,
        distortion: float,
        layout: Layout = FLAT,
        scales: torch.Tensor | None = None,
        columns: torch.Tensor | None = None,
    ) -> None:
        """Add the next tensor.

        Args:
            info: Its name, shape and dtype.
            indices: The motif of each of its blocks, (n,).
            distortion: Its squared error.
            layout: How it is cut into blocks.
            scales: Codes of its rows' scales, (rows,) uint8, where those multiply the motifs; None otherwise.
            columns: Codes of its columns' scales, (columns,) uint8, where its columns have some beside its rows.

        Raises:
            MomosError: The distortion is not finite, or the temporary file finds no room.
        """
        if not math.isfinite(distortion):
            raise MomosError(f"{info.name} {list(info.shape)}: its decoded values are not finite in {info.dtype}")
        first = self._tensors[-1].end_block if self._tensors else 0
        scaled, column_scaled = scales is not None, columns is not None
        end = first + len(indices)
        tensor = CompressedTensor(
            info.name, info.shape, info.dtype, first, end, distortion, layout, scaled, column_scaled
        )
        if scales is not None:
            if scales.dtype != torch.uint8 or scales.shape != (layout.rows,):
                raise ValueError(f"{info.name}: scales {scales.dtype} {tuple(scales.shape)} for {layout}")
            self._scales.append(scales.cpu())
        if columns is not None:
            if not scaled or columns.dtype != torch.uint8 or columns.shape != (tensor.columns,):
                raise ValueError(f"{info.name}: columns {columns.dtype} {tuple(columns.shape)} for {tensor}")
            self._columns.append(columns.cpu())
        self.usage += np.bincount(indices, minlength=len(self.usage))
        spool_out(self._spool, indices.astype(self._width).tobytes())
        self._tensors.append(tensor)

    def finish(
        self,
        codebook: torch.Tensor,
        step: float | None = None,
        *,
        keep_unused: bool = False,
        energy: float,
        sampled_blocks: int,
    ) -> Mosaic:
        """Sort the motifs by use and return the mosaic.

        Args:
            codebook: The motifs as they are stored, (k, s), in the order that the indices count in.
            step: What an int8 codebook's values are multiples of.
            keep_unused: Whether motifs that no block uses stay.
            energy: Sum of squares over all compressed parameters.
            sampled_blocks: Number of blocks that the motifs were fitted to.
        """
        by_use = np.argsort(-self.usage, kind="stable")
        if not keep_unused:
            by_use = by_use[: max(1, int((self.usage > 0).sum()))]
        order = np.zeros(len(self.usage), dtype=self._width)
        order[by_use] = np.arange(len(by_use), dtype=self._width)
        return Mosaic(
            codebook=codebook.cpu()[torch.from_numpy(by_use.copy())],
            step=step,
            usage=self.usage[by_use],
            tensors=tuple(self._tensors),
            scales=torch.cat(self._scales) if self._scales else None,
            columns=torch.cat(self._columns) if self._columns else None,
            energy=energy,
            sampled_blocks=sampled_blocks,
            _spool=self._spool,
            _order=order,
        )
