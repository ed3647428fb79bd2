"""The projection onto motifs: the nearest motif for every block.

Tensors are read one at a time; what is kept of the mosaic while it grows lies in a temporary file, not in memory.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from momos_compress.common.progress import Progress, silent
from momos_compress.fitting.nearest import NearestMotif, Ties
from momos_compress.fitting.row_scales import RowScales, layout_of, read_blocks
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.codebook import decode_codebook, quantise_codebook
from momos_compress.mosaic.mosaic import Mosaic, MosaicBuilder
from momos_compress.settings import CodebookDtype
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import TensorInfo


def project(
    checkpoint: Checkpoint,
    chosen: tuple[TensorInfo, ...],
    motifs: np.ndarray,
    *,
    codebook_dtype: CodebookDtype,
    rows: Mapping[str, RowScales] | None = None,
    keep_unused: bool = False,
    ties: Ties = "any",
    device: str = "cpu",
    spool_directory: Path | None = None,
    energy: float,
    sampled_blocks: int,
    progress: Progress = silent,
) -> Mosaic:
    """Find the nearest motif, as it will be stored, for every block of the chosen tensors.

    Args:
        checkpoint: Where the tensors lie.
        chosen: The tensors to project.
        motifs: (k, s) float32, before they are rounded to ``codebook_dtype``.
        codebook_dtype: What motifs are stored in.
        rows: Tensors that are cut by rows, each divided by its scale before the search; the others are cut flat.
        keep_unused: Whether motifs that no block uses stay in the codebook.
        ties: Among motifs at equal distance, "lowest" takes the first and "any" what the search finds.
        device: "cpu", or "cuda" where FAISS sees a GPU.
        spool_directory: Where the temporary file lies; None takes the system's place.
        energy: Sum of squares of all values, kept in the mosaic.
        sampled_blocks: Blocks that the motifs were trained on, kept in the mosaic.
        progress: Told blocks projected, as stage "assign".

    Returns:
        The mosaic. Its distortion is measured on all values, as they will be decoded.

    Raises:
        MomosError: A value is not finite; the message names its tensor.
    """
    stored, step = quantise_codebook(motifs, codebook_dtype)
    values = decode_codebook(stored, step).numpy()
    search = NearestMotif(values, device=device, ties=ties)
    builder = MosaicBuilder(len(values), spool_directory=spool_directory)
    s, rows = values.shape[1], rows or {}
    total = sum(layout_of(rows, info).count(info.values, s) for info in chosen)
    for info in chosen:
        layout, scaled = layout_of(rows, info), rows.get(info.name)
        found = np.empty(layout.count(info.values, s), dtype=np.int32)
        distortion, done = 0.0, 0
        for blocks in read_blocks(checkpoint, info, s, layout):
            factors = None if scaled is None else scaled.factors(info.values, s, done, len(blocks))
            indices = search(blocks if factors is None else blocks / factors)
            decoded = values[indices] if factors is None else values[indices] * factors
            # As it will be decoded: a value is rounded once more to the tensor's own dtype.
            decoded = torch.from_numpy(decoded).to(info.dtype).float().numpy()
            error = np.square(blocks - decoded, dtype=np.float64)
            distortion += float(_without_padding(error, info.values, done, layout).sum())
            found[done : done + len(blocks)] = indices
            done += len(blocks)
            progress("assign", len(blocks), total)
        builder.add(info, found, distortion, layout, None if scaled is None else scaled.scales)
    return builder.finish(stored, step, keep_unused=keep_unused, energy=energy, sampled_blocks=sampled_blocks)


def _without_padding(blocks: np.ndarray, values: int, first: int, layout: Layout) -> np.ndarray:
    """The values in a piece (m, s), from block ``first`` on, of the blocks of a tensor of so many values."""
    s = blocks.shape[1]
    if layout.rows is None:
        return blocks.reshape(-1)[: values - first * s]
    return blocks.reshape(-1, layout.row_blocks(values, s) * s)[:, : layout.columns(values)]
