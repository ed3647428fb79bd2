"""A sample of all blocks to train a codebook on; tensors are read one at a time."""

from collections.abc import Mapping

import numpy as np

from momos_compress.common.progress import Progress, silent
from momos_compress.fitting.row_scales import RowScales, layout_of, read_blocks
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import TensorInfo

LARGEST_HYPERGEOMETRIC = 10**9
"""Where numpy's hypergeometric law ends; from so many blocks the binomial law is the same to nine digits."""


def draw_blocks(
    checkpoint: Checkpoint,
    chosen: tuple[TensorInfo, ...],
    s: int,
    count: int,
    *,
    seed: int,
    rows: Mapping[str, RowScales] | None = None,
    progress: Progress = silent,
) -> tuple[np.ndarray, float]:
    """Draw blocks uniformly without replacement, reading every tensor once and keeping only what is drawn.

    Args:
        checkpoint: Where the tensors lie.
        chosen: The tensors to draw from.
        s: Block size.
        count: Blocks to draw; all where there are fewer.
        seed: Decides the draw.
        rows: Tensors that are cut by rows, each divided by its scale; the others are cut flat.
        progress: Told blocks read, as stage "sample".

    Returns:
        The blocks (count, s) float32, and the energy (sum of squares) of all values of the tensors.

    Raises:
        MomosError: A value is not finite; the message names its tensor.
    """
    rng, rows = np.random.default_rng(seed), rows or {}
    total = left = sum(layout_of(rows, info).count(info.values, s) for info in chosen)
    energy, drawn = 0.0, []
    count = min(count, left)
    for info in chosen:
        done = 0
        for blocks in read_blocks(checkpoint, info, s, layout_of(rows, info)):
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
            progress("sample", here, total)
    return np.concatenate(drawn) if drawn else np.zeros((0, s), np.float32), energy


def _share(rng: np.random.Generator, count: int, left: int, here: int) -> int:
    """How many of ``count`` blocks drawn from ``left`` lie among the next ``here``."""
    if count >= left:
        return here
    if left < LARGEST_HYPERGEOMETRIC:
        return int(rng.hypergeometric(count, left - count, here))
    drawn = int(rng.binomial(here, count / left))
    return max(count - (left - here), min(drawn, count, here))
