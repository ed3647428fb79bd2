"""k-means over blocks, from a seeding that suits the density of weights."""

import numpy as np

from momos_compress.errors import MomosError
from momos_compress.fitting.faiss_library import faiss_on_gpu, load_faiss
from momos_compress.fitting.nearest import NearestMotif

MAX_ITERATIONS = 25
"""Iterations that k-means may take."""

STOP_BELOW = 0.002
"""Share of the distortion that an iteration must take off for FAISS to go on."""

COSTLY_ITERATION = 2**33
"""Distances n k that make an iteration costly: the time then buys more as a larger sample than as a tenth iteration
(benchmarks/sampling.py)."""

STOP_BELOW_WHEN_COSTLY = 0.02
"""Share of the distortion that a costly iteration must take off for FAISS to go on."""

SEARCHED_AT_ONCE = 2**18
"""Blocks whose distance to the pilot draw is found at a time."""


def seed_motifs(blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
    """Draw k starting motifs (k, s) from blocks (n, s), more sparsely where blocks are dense.

    The motifs of least distortion have a point density proportional to p^(s / (s + 2)), p being the density of the
    blocks (Zador 1982; Gersho 1979). A uniform draw has density p, and k-means barely corrects that. p is taken as r^-s
    with r the distance to the nearest of a pilot draw, so each block is drawn with a weight of
    p^(-2 / (s + 2)) = r^(2 s / (s + 2)).
    """
    rng = np.random.default_rng(seed)
    n, s = blocks.shape
    order = rng.permutation(n)
    pilot, rest = order[: min(k, n // 4)], order[min(k, n // 4) :]
    if len(pilot) < 2 or len(rest) < 2 * k:
        return blocks[order[:k]]
    motifs, weights = blocks[pilot], np.empty(len(rest))
    search = NearestMotif(motifs, device=device)
    for start in range(0, len(rest), SEARCHED_AT_ONCE):
        part = rest[start : start + SEARCHED_AT_ONCE]
        gap = np.square(blocks[part] - motifs[search(blocks[part])], dtype=np.float64).sum(axis=1)
        weights[start : start + len(part)] = gap ** (s / (s + 2))
    weights += 1e-9 * weights.mean() + np.finfo(np.float64).tiny
    # A weighted draw without replacement: the k first of exponential clocks at rates w (Efraimidis, Spirakis 2006).
    keys = rng.exponential(size=len(rest)) / weights
    return blocks[rest[np.argpartition(keys, k - 1)[:k]]]


def fit_faiss(blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
    """Find k motifs by Lloyd's k-means in FAISS, started from ``seed_motifs``; "cuda" runs it on the GPU.

    Raises:
        MomosError: FAISS is not installed, or sees no GPU where ``device`` is "cuda".
    """
    faiss = load_faiss()
    if faiss is None:
        raise MomosError("method 'faiss' needs FAISS; pip install faiss-cpu, or use `method='sklearn'`")
    if device == "cuda" and not faiss_on_gpu(faiss):
        raise MomosError("FAISS sees no GPU; use `device='cpu'`")
    kmeans = faiss.Kmeans(
        blocks.shape[1],
        k,
        niter=MAX_ITERATIONS,
        early_stop_threshold=STOP_BELOW if len(blocks) * k < COSTLY_ITERATION else STOP_BELOW_WHEN_COSTLY,
        seed=seed % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=2**31 - 1,
        gpu=device == "cuda",
    )
    kmeans.train(blocks, init_centroids=seed_motifs(blocks, k, seed=seed, device=device))
    motifs: np.ndarray = kmeans.centroids
    return motifs


def fit_sklearn(blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
    """Find k motifs by scikit-learn's MiniBatchKMeans, started from ``seed_motifs``; always on the CPU."""
    from sklearn.cluster import MiniBatchKMeans

    start = seed_motifs(blocks, k, seed=seed, device="cpu")
    batch = max(4096, 4 * k)
    kmeans = MiniBatchKMeans(
        k,
        init=start,
        n_init=1,
        batch_size=batch,
        max_iter=MAX_ITERATIONS,
        random_state=seed % 2**32,
        reassignment_ratio=0,
    )
    motifs: np.ndarray = kmeans.fit(blocks).cluster_centers_.astype(np.float32)
    return motifs
