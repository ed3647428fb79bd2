"""The paper's motifs: blocks drawn at random (Mosaic-of-Motifs, arXiv 2602.14896)."""

import numpy as np


def draw_motifs(blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
    """Draw k of the blocks (n, s), uniformly and without replacement."""
    chosen = np.random.default_rng(seed).choice(len(blocks), size=k, replace=False)
    return blocks[chosen]
