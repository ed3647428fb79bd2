"""The projection onto motifs: sample blocks, fit a codebook, name the nearest motif for every block.

Tensors are read one at a time; what is kept of the mosaic while it grows lies in a temporary file, not in memory.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from momos_compress.blocks import CHUNK_VALUES, count_blocks, iter_blocks
from momos_compress.checkpoint import Checkpoint, TensorInfo
from momos_compress.container import CompressedTensor
from momos_compress.errors import MomosError
from momos_compress.nearest import NearestMotif, Ties
from momos_compress.packing import index_bits, pack

Progress = Callable[[int], None]
"""Told how many blocks have been done since the last call."""


def _silent(blocks: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class Mosaic:
    """A projected checkpoint.

    codebook: (k, s) in the dtype it is stored in, most used motif first. usage: blocks for each motif (k,).
    distortion and energy are sums over all compressed parameters.
    """

    codebook: torch.Tensor
    usage: np.ndarray
    tensors: tuple[CompressedTensor, ...]
    energy: float
    sampled_blocks: int
    _spool: IO[bytes]
    _order: np.ndarray

    @property
    def k(self) -> int:
        """Number of motifs."""
        return len(self.codebook)

    @property
    def distortion(self) -> float:
        """Sum of squared differences over the real values."""
        return sum(tensor.distortion for tensor in self.tensors)

    def packed(self, tensor: CompressedTensor) -> Iterator[bytes]:
        """The stored form of one parameter's indices, guard byte included (docs/format.md)."""
        bits, written = index_bits(self.k), 0
        width, step = self._order.itemsize, CHUNK_VALUES  # a multiple of 8 indices ends on a byte
        for start in range(tensor.first_block, tensor.end_block, step):
            count = min(step, tensor.end_block - start)
            self._spool.seek(start * width)
            raw = np.frombuffer(self._spool.read(count * width), dtype=self._order.dtype)
            part = pack(self._order[raw], bits)
            written += len(part)
            yield part
        yield bytes(tensor.stored_bytes(self.k) - written)


def draw_blocks(
    checkpoint: Checkpoint,
    chosen: tuple[TensorInfo, ...],
    s: int,
    count: int,
    *,
    seed: int,
    progress: Progress = _silent,
) -> tuple[np.ndarray, float]:
    """Draw ``count`` of all blocks uniformly without replacement: (count, s) float32; and the energy of all values.

    Reads every tensor once and keeps only what it drew. Raises MomosError that names a tensor with a NaN or infinity.
    """
    rng = np.random.default_rng(seed)
    left, energy, drawn = sum(count_blocks(info.values, s) for info in chosen), 0.0, []
    for info in chosen:
        for blocks in _blocks_of(checkpoint, info, s):
            here = len(blocks)
            # How many of the draw fall into this piece: exactly the law of a uniform draw from all blocks.
            take = _share(rng, count, left, here)
            if take == here:
                drawn.append(blocks.copy())
            elif take:
                drawn.append(blocks[np.sort(rng.choice(here, size=take, replace=False))])
            energy += float(np.sum(np.square(blocks, dtype=np.float64)))
            count, left = count - take, left - here
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
    codebook_dtype: torch.dtype,
    keep_unused: bool = False,
    ties: Ties = "any",
    device: str = "cpu",
    spool_directory: Path | None = None,
    energy: float,
    sampled_blocks: int,
    progress: Progress = _silent,
) -> Mosaic:
    """Name the nearest of ``motifs`` (k, s), as they will be stored, for every block of the chosen tensors.

    Motifs that no block uses are dropped unless ``keep_unused``. The distortion is measured on all values.
    """
    stored = round_codebook(motifs, codebook_dtype)
    values = stored.float().numpy()
    search = NearestMotif(values, device=device, ties=ties)
    width = np.dtype(np.min_scalar_type(len(values) - 1))
    usage, tensors, first = np.zeros(len(values), dtype=np.int64), [], 0
    spool = tempfile.TemporaryFile(dir=spool_directory)  # noqa: SIM115  it outlives this function
    for info in chosen:
        distortion, left, end = 0.0, info.values, first
        for blocks in _blocks_of(checkpoint, info, values.shape[1]):
            indices = search(blocks)
            usage += np.bincount(indices, minlength=len(values))
            # As it will be decoded: a motif's values are rounded once more to the tensor's own dtype.
            decoded = torch.from_numpy(values[indices]).to(info.dtype).float().numpy()
            error = np.square(blocks - decoded, dtype=np.float64).reshape(-1)
            distortion += float(error[:left].sum())
            left, end = left - blocks.size, end + len(blocks)
            _spool_out(spool, indices.astype(width))
            progress(len(blocks))
        tensors.append(CompressedTensor(info.name, info.shape, info.dtype, first, end, distortion))
        first = end
    by_use = np.argsort(-usage, kind="stable")
    if not keep_unused:
        by_use = by_use[: max(1, int((usage > 0).sum()))]
    order = np.zeros(len(values), dtype=width)
    order[by_use] = np.arange(len(by_use), dtype=width)
    codebook = stored[torch.from_numpy(by_use.copy())]
    return Mosaic(codebook, usage[by_use], tuple(tensors), energy, sampled_blocks, spool, order)


def _spool_out(spool: IO[bytes], indices: np.ndarray) -> None:
    try:
        spool.write(indices.tobytes())
    except OSError as error:
        raise MomosError(
            f"no room for the mosaic beside the output file: {error.strerror}; free some or use -o"
        ) from error


def _blocks_of(checkpoint: Checkpoint, info: TensorInfo, s: int) -> Iterator[np.ndarray]:
    try:
        yield from iter_blocks(checkpoint.read(info.name), s)
    except MomosError as error:
        raise MomosError(f"{info.name} {list(info.shape)}: {error}") from error


def round_codebook(motifs: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """Motifs in the dtype they are stored in; MomosError where it cannot hold them."""
    rounded = torch.from_numpy(np.ascontiguousarray(motifs, dtype=np.float32)).to(dtype)
    if not bool(torch.isfinite(rounded).all()):
        raise MomosError(
            f"a motif has the value {float(np.abs(motifs).max()):.3g}, beyond {str(dtype).removeprefix('torch.')}; use "
            "--codebook-dtype float32 or bfloat16"
        )
    return rounded
