"""The mosaic: which motif stands for each block, gathered one tensor after the other."""

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

    codebook: (k, s) as it is stored, most used motif first. step: what an int8 codebook counts. usage: blocks for each
    motif (k,). scales: codes of the rows of all scaled tensors, in the order of ``tensors``; None where none is scaled.
    distortion and energy are sums over all compressed parameters.
    """

    codebook: torch.Tensor
    step: float | None
    usage: np.ndarray
    tensors: tuple[CompressedTensor, ...]
    scales: torch.Tensor | None
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
        """Number of blocks, over all tensors."""
        return self.tensors[-1].end_block if self.tensors else 0

    @property
    def distortion(self) -> float:
        """Sum of squared differences over the real values."""
        return sum(tensor.distortion for tensor in self.tensors)

    @property
    def entropy(self) -> float:
        """Entropy of the index of a block in bits: what a block takes at least, all blocks under one model."""
        used = self.usage[self.usage > 0] / max(1, self.blocks)
        return abs(float(used @ np.log2(used)))

    def indices(self, tensor: CompressedTensor, *, backwards: bool = False) -> Iterator[np.ndarray]:
        """The indices of one parameter, most used motif first, in pieces; all but the last are of a multiple of 8.

        backwards: the last piece first.
        """
        width, step = self._order.itemsize, CHUNK_VALUES
        starts = range(tensor.first_block, tensor.end_block, step)
        for start in reversed(starts) if backwards else starts:
            count = min(step, tensor.end_block - start)
            self._spool.seek(start * width)
            raw = np.frombuffer(self._spool.read(count * width), dtype=self._order.dtype)
            yield self._order[raw]


def spool_out(spool: IO[bytes], data: bytes) -> None:
    """Write to a temporary file; MomosError where there is no room."""
    try:
        spool.write(data)
    except OSError as error:
        raise MomosError(
            f"no room for the mosaic beside the output file: {error.strerror}; free some, or choose another `output`"
        ) from error


class MosaicBuilder:
    """Gathers the indices of one tensor after the other, in any numbering of k motifs.

    They are kept in a temporary file in ``spool_directory``.
    """

    def __init__(self, k: int, *, spool_directory: Path | None = None) -> None:
        self.usage = np.zeros(k, dtype=np.int64)
        self._width = np.dtype(np.min_scalar_type(k - 1))
        self._spool = tempfile.TemporaryFile(dir=spool_directory)  # noqa: SIM115  the mosaic keeps it
        self._tensors: list[CompressedTensor] = []
        self._scales: list[torch.Tensor] = []

    def add(
        self,
        info: TensorInfo,
        indices: np.ndarray,
        distortion: float,
        layout: Layout = FLAT,
        scales: torch.Tensor | None = None,
    ) -> None:
        """Take the next tensor: the motif of each of its blocks (n,), its squared error, the codes of its rows' scales.

        scales: (rows,) uint8, where the tensor is decoded as its rows' scales times their motifs.
        """
        if not math.isfinite(distortion):
            raise MomosError(f"{info.name} {list(info.shape)}: its decoded values are not finite in {info.dtype}")
        first = self._tensors[-1].end_block if self._tensors else 0
        scaled = scales is not None
        tensor = CompressedTensor(
            info.name, info.shape, info.dtype, first, first + len(indices), distortion, layout, scaled
        )
        if scales is not None:
            if scales.dtype != torch.uint8 or scales.shape != (layout.rows,):
                raise ValueError(f"{info.name}: scales {scales.dtype} {tuple(scales.shape)} for {layout}")
            self._scales.append(scales.cpu())
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
        """The mosaic over a codebook (k, s) as it is stored, which is sorted by use.

        Motifs that no block uses are dropped unless ``keep_unused``.
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
            energy=energy,
            sampled_blocks=sampled_blocks,
            _spool=self._spool,
            _order=order,
        )
