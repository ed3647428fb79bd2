"""The motifs of a set of blocks, by whichever method fits blocks alone."""

import numpy as np

from momos_compress.errors import MomosError
from momos_compress.fitting.kmeans import COSTLY_ITERATION
from momos_compress.fitting.methods import BlockFit, get_method

SAMPLE_PER_MOTIF = 32
"""Blocks that a codebook is trained on for each of its motifs (benchmarks/sampling.py)."""

START_PER_MOTIF = 16
"""Blocks for each motif where iterations are costly and the codebook is only what a fit starts from."""

MIN_SAMPLE = 2**18
"""Blocks that a codebook is trained on at least, where there are so many (benchmarks/sampling.py)."""


def sample_size(blocks: int, k: int, *, start: bool = False) -> int:
    """How many blocks a codebook is trained on.

    Args:
        blocks: How many there are.
        k: Motifs.
        start: Whether the motifs are what a fit starts from, which moves them on.
    """
    count = min(blocks, max(SAMPLE_PER_MOTIF * k, MIN_SAMPLE))
    return min(count, max(START_PER_MOTIF * k, COSTLY_ITERATION // k)) if start else count


def fit_motifs(
    blocks: np.ndarray, k: int, *, method: str = "faiss", seed: int, zero_motif: bool = True, device: str = "cpu"
) -> np.ndarray:
    """Find at most k motifs for blocks.

    Args:
        blocks: (n, s) float32.
        k: Number of motifs, the zero motif among them.
        method: A name of ``METHODS`` whose method fits blocks alone.
        seed: Decides every random choice.
        zero_motif: Whether motif 0 is the all-zero block; the method then finds the other k - 1.
        device: "cpu", or "cuda" where FAISS sees a GPU.

    Returns:
        Motifs (k', s) float32, k' <= k. Where there are fewer than k distinct blocks, they are exactly those, unless
        the method draws; then k' <= n.

    Raises:
        MomosError: No such method, or one that needs a network.

    Example:
        >>> blocks = np.array([[1, 2], [1, 2], [3, 4]], dtype=np.float32)
        >>> fit_motifs(blocks, 3, method="sklearn", seed=0).tolist()
        [[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]]
    """
    chosen = get_method(method)
    if chosen.reads_network:
        raise MomosError(f"method {method!r} fits motifs to a network's outputs, and here are blocks alone")
    blocks = np.ascontiguousarray(blocks, dtype=np.float32)
    find: BlockFit = chosen.load()
    zero = np.zeros((1 if zero_motif else 0, blocks.shape[1]), dtype=np.float32)
    wanted = k - len(zero)
    if wanted == 0:
        return zero
    if zero_motif and not chosen.draws:
        blocks = blocks[blocks.any(axis=1)]
    motifs = None if chosen.draws else distinct_blocks(blocks, wanted)
    if motifs is None:
        motifs = find(blocks, min(wanted, len(blocks)), seed=seed, device=device)
    return np.concatenate([zero, motifs])


def distinct_blocks(blocks: np.ndarray, limit: int) -> np.ndarray | None:
    """The distinct blocks (m, s) of (n, s) if there are at most ``limit`` of them, else None; 0 and -0 are equal."""
    bits = np.ascontiguousarray(blocks + np.float32(0)).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, size=blocks.shape[1], dtype=np.uint64) | np.uint64(1)
    # Equal blocks share a sum, so there are at least as many distinct blocks as distinct sums; sorting sums is cheap.
    if len(np.unique((bits * factors).sum(axis=1, dtype=np.uint64))) > limit:
        return None
    distinct: np.ndarray = np.unique(blocks + np.float32(0), axis=0)
    return distinct if len(distinct) <= limit else None
