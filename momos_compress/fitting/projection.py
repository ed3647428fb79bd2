"""The projection onto motifs: sample blocks, fit a codebook, name the nearest motif for every block.

Tensors are read one at a time; what is kept of the mosaic while it grows lies in a temporary file, not in memory.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from momos_compress.container.recipe import CompressedTensor
from momos_compress.errors import MomosError
from momos_compress.fitting.nearest import NearestMotif, Ties
from momos_compress.mosaic.blocks import CHUNK_VALUES, FLAT, Layout, count_blocks, iter_blocks
from momos_compress.mosaic.codebook import decode_codebook, quantise_codebook
from momos_compress.mosaic.scales import encode_scales, scale_values
from momos_compress.settings import CodebookDtype
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import TensorInfo

MAX_PADDING = 1.34
"""A tensor is cut by rows where that takes at most so many times the blocks of a flat cut (3 x 3 kernels at s = 4)."""

Progress = Callable[[int], None]
"""Told how many blocks have been done since the last call."""


def _silent(blocks: int) -> None:
    """No progress is shown."""


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


@dataclass(frozen=True)
class Rows:
    """A tensor cut by rows, and the codes of its rows' scales (rows,) uint8, where they are scaled."""

    layout: Layout
    scales: torch.Tensor | None = None

    def factors(self, values: int, s: int, first: int, count: int) -> np.ndarray | None:
        """The scale of each of ``count`` blocks from block ``first`` on: (count, 1)."""
        if self.scales is None:
            return None
        blocks = self.layout.row_blocks(values, s)
        part = scale_values(self.scales[first // blocks : (first + count) // blocks]).numpy()
        return np.repeat(part, blocks)[:, None]


def row_layout(shape: Sequence[int]) -> Layout:
    """A row for each index of the first dimension; a vector is one row."""
    return Layout(shape[0] if len(shape) > 1 else 1)


def fills_rows(info: TensorInfo, s: int) -> bool:
    """Whether a tensor's rows fill whole blocks well enough."""
    return row_layout(info.shape).count(info.values, s) <= MAX_PADDING * count_blocks(info.values, s)


def find_rows(checkpoint: Checkpoint, chosen: tuple[TensorInfo, ...], s: int) -> dict[str, Rows]:
    """For each tensor whose rows (its first dimension) fill whole blocks well enough: its rows and their RMS."""
    found = {}
    for info in chosen:
        layout = row_layout(info.shape)
        if not fills_rows(info, s):
            continue
        matrix = layout.matrix(checkpoint.read(info.name))
        step = max(1, CHUNK_VALUES // max(1, matrix.shape[1]))
        rms = torch.cat([part.float().square().mean(dim=1).sqrt() for part in torch.split(matrix, step)])
        found[info.name] = Rows(layout, encode_scales(rms))
    return found


def _layout(rows: Mapping[str, Rows], info: TensorInfo) -> Layout:
    return rows[info.name].layout if info.name in rows else FLAT


def spool_out(spool: IO[bytes], data: bytes) -> None:
    """Write to a temporary file; MomosError where there is no room."""
    try:
        spool.write(data)
    except OSError as error:
        raise MomosError(
            f"no room for the mosaic beside the output file: {error.strerror}; free some or use -o"
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


def draw_blocks(
    checkpoint: Checkpoint,
    chosen: tuple[TensorInfo, ...],
    s: int,
    count: int,
    *,
    seed: int,
    rows: Mapping[str, Rows] | None = None,
    progress: Progress = _silent,
) -> tuple[np.ndarray, float]:
    """Draw ``count`` of all blocks uniformly without replacement: (count, s) float32; and the energy of all values.

    rows: tensors that are cut by rows, each divided by its scale. Reads every tensor once and keeps only what it drew.
    Raises MomosError that names a tensor with a NaN or infinity.
    """
    rng, rows = np.random.default_rng(seed), rows or {}
    left = sum(_layout(rows, info).count(info.values, s) for info in chosen)
    energy, drawn = 0.0, []
    count = min(count, left)
    for info in chosen:
        done = 0
        for blocks in _blocks_of(checkpoint, info, s, _layout(rows, info)):
            here = len(blocks)
            energy += float(np.sum(np.square(blocks, dtype=np.float64)))
            factors = rows[info.name].factors(info.values, s, done, here) if info.name in rows else None
            if factors is not None:
                blocks = blocks / factors
            # How many of the draw fall into this piece: exactly the law of a uniform draw from all blocks.
            take = _share(rng, count, left, here)
            if take == here:
                drawn.append(blocks.copy())
            elif take:
                drawn.append(blocks[np.sort(rng.choice(here, size=take, replace=False))])
            count, left, done = count - take, left - here, done + here
            progress(here)
    return np.concatenate(drawn) if drawn else np.zeros((0, s), np.float32), energy


def _share(rng: np.random.Generator, count: int, left: int, here: int) -> int:
    """How many of ``count`` blocks drawn from ``left`` lie among the next ``here``."""
    if count >= left:
        return here
    if left < 10**9:
        return int(rng.hypergeometric(count, left - count, here))
    # numpy's hypergeometric ends at 10^9; from so many blocks the binomial law is the same to nine digits.
    drawn = int(rng.binomial(here, count / left))
    return max(count - (left - here), min(drawn, count, here))


def project(
    checkpoint: Checkpoint,
    chosen: tuple[TensorInfo, ...],
    motifs: np.ndarray,
    *,
    codebook_dtype: CodebookDtype,
    rows: Mapping[str, Rows] | None = None,
    keep_unused: bool = False,
    ties: Ties = "any",
    device: str = "cpu",
    spool_directory: Path | None = None,
    energy: float,
    sampled_blocks: int,
    progress: Progress = _silent,
) -> Mosaic:
    """Name the nearest of ``motifs`` (k, s), as they will be stored, for every block of the chosen tensors.

    rows: tensors that are cut by rows, each divided by its scale before the search; the others are cut flat. Motifs
    that no block uses are dropped unless ``keep_unused``. The distortion is measured on all values, as they will be
    decoded.
    """
    stored, step = quantise_codebook(motifs, codebook_dtype)
    values = decode_codebook(stored, step).numpy()
    search = NearestMotif(values, device=device, ties=ties)
    builder = MosaicBuilder(len(values), spool_directory=spool_directory)
    s, rows = values.shape[1], rows or {}
    for info in chosen:
        layout, scaled = _layout(rows, info), rows.get(info.name)
        found = np.empty(layout.count(info.values, s), dtype=np.int32)
        distortion, done = 0.0, 0
        for blocks in _blocks_of(checkpoint, info, s, layout):
            factors = None if scaled is None else scaled.factors(info.values, s, done, len(blocks))
            indices = search(blocks if factors is None else blocks / factors)
            decoded = values[indices] if factors is None else values[indices] * factors
            # As it will be decoded: a value is rounded once more to the tensor's own dtype.
            decoded = torch.from_numpy(decoded).to(info.dtype).float().numpy()
            error = np.square(blocks - decoded, dtype=np.float64)
            distortion += float(_real(error, info.values, done, layout).sum())
            found[done : done + len(blocks)] = indices
            done += len(blocks)
            progress(len(blocks))
        builder.add(info, found, distortion, layout, None if scaled is None else scaled.scales)
    return builder.finish(stored, step, keep_unused=keep_unused, energy=energy, sampled_blocks=sampled_blocks)


def _real(blocks: np.ndarray, values: int, first: int, layout: Layout) -> np.ndarray:
    """What is no padding in a piece (m, s) of a tensor's blocks that starts at block ``first``."""
    s = blocks.shape[1]
    if layout.rows is None:
        return blocks.reshape(-1)[: values - first * s]
    return blocks.reshape(-1, layout.row_blocks(values, s) * s)[:, : layout.columns(values)]


def _blocks_of(checkpoint: Checkpoint, info: TensorInfo, s: int, layout: Layout = FLAT) -> Iterator[np.ndarray]:
    try:
        yield from iter_blocks(checkpoint.read(info.name), s, layout)
    except MomosError as error:
        raise MomosError(f"{info.name} {list(info.shape)}: {error}") from error
