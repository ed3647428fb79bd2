"""Blocks to fit motifs to, and what motifs leave of them."""

import numpy as np


def mixture(n: int, s: int, seed: int = 0) -> np.ndarray:
    """Blocks of layers with deviations from 0.01 to 1, as real checkpoints have them."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, s)) * 10 ** rng.uniform(-2, 0, size=(n, 1))).astype(np.float32)


def distortion(blocks: np.ndarray, motifs: np.ndarray) -> float:
    """Squared error of blocks (n, s) at their nearest motifs (k, s), by brute force in float64."""
    total = 0.0
    for part in np.array_split(blocks.astype(np.float64), max(1, len(blocks) * len(motifs) // 2**22)):
        total += float(np.square(part[:, None] - motifs[None].astype(np.float64)).sum(axis=2).min(axis=1).sum())
    return total
