"""The projection onto motifs: sample blocks, fit a codebook, name the nearest motif for every block.

Tensors are read one at a time; what is kept of the mosaic while it grows lies in a temporary file, not in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.fitting.nearest import NearestMotif, Ties
from momos_compress.mosaic.blocks import CHUNK_VALUES, FLAT, Layout, fills_rows, iter_blocks, row_layout
from momos_compress.mosaic.codebook import decode_codebook, quantise_codebook
from momos_compress.mosaic.mosaic import Mosaic, MosaicBuilder
from momos_compress.mosaic.scales import encode_scales, scale_values
from momos_compress.settings import CodebookDtype
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import TensorInfo

Progress = Callable[[int], None]
"""Told how many blocks have been done since the last call."""


def _silent(blocks: int) -> None:
    """No progress is shown."""


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
