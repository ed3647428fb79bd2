"""Finding the motifs: the codebook that represents the blocks with little distortion.

``FITS`` maps a method's name to its function; add an entry to plug in another.
"""

from typing import Any, Protocol

import numpy as np

from momos_compress.errors import MomosError
from momos_compress.fitting.nearest import NearestMotif, clustering_device, faiss_on_gpu, load_faiss

MAX_ITERATIONS = 25
STOP_BELOW = 0.002
STOP_BELOW_WHEN_COSTLY = 0.02
COSTLY_ITERATION = 2**33
"""k-means ends when an iteration lowers the distortion by less than this share. An iteration takes n k distances; where
those are many, the time buys more as a larger sample than as a tenth iteration (benchmarks/sampling.py)."""

SAMPLE_PER_MOTIF = 32
MIN_SAMPLE = 2**18
"""Blocks a codebook is trained on: 32 for each motif, and at least 262,144 (benchmarks/sampling.py)."""


class Fit(Protocol):
    """A method: blocks (n, s) float32, n > k -> motifs (k, s) float32."""

    def __call__(self, blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
        """Find k motifs."""
        ...


def sample_size(blocks: int, k: int) -> int:
    """How many of this many blocks the codebook of k motifs is trained on."""
    return min(blocks, max(SAMPLE_PER_MOTIF * k, MIN_SAMPLE))


def default_method() -> str:
    """``faiss``, or ``sklearn`` where FAISS is not installed."""
    return "sklearn" if load_faiss() is None else "faiss"


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
    for start in range(0, len(rest), 2**18):
        part = rest[start : start + 2**18]
        gap = np.square(blocks[part] - motifs[search(blocks[part])], dtype=np.float64).sum(axis=1)
        weights[start : start + len(part)] = gap ** (s / (s + 2))
    weights += 1e-9 * weights.mean() + np.finfo(np.float64).tiny
    # A weighted draw without replacement: the k first of exponential clocks at rates w (Efraimidis, Spirakis 2006).
    keys = rng.exponential(size=len(rest)) / weights
    return blocks[rest[np.argpartition(keys, k - 1)[:k]]]


def fit_faiss(blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
    """Lloyd's k-means through FAISS, from ``seed_motifs``; on the GPU with ``device="cuda"``."""
    faiss = load_faiss()
    if faiss is None:
        raise MomosError("method 'faiss' needs FAISS; pip install faiss-cpu, or use --method sklearn")
    if device == "cuda" and not faiss_on_gpu(faiss):
        raise MomosError("FAISS sees no GPU; use --device cpu")
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
    """scikit-learn's MiniBatchKMeans, from ``seed_motifs``; always on the CPU."""
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


def fit_random(blocks: np.ndarray, k: int, *, seed: int, device: str) -> np.ndarray:
    """The paper's draw: k of the blocks, uniformly and without replacement."""
    chosen = np.random.default_rng(seed).choice(len(blocks), size=k, replace=False)
    return blocks[chosen]


FITS: dict[str, Fit] = {"faiss": fit_faiss, "sklearn": fit_sklearn, "random": fit_random}
HESSIAN = "hessian"
"""The method that fits motifs to what layers compute instead of to blocks (``calibration.run``)."""


def get_fit(method: str) -> Fit:
    """The method of this name; MomosError lists the choices."""
    if method not in FITS:
        raise MomosError(f"unknown method {method!r}; choose from {', '.join(sorted((*FITS, HESSIAN)))}")
    return FITS[method]


def distinct_blocks(blocks: np.ndarray, limit: int) -> np.ndarray | None:
    """The distinct blocks (m, s) if there are at most ``limit`` of them, else None."""
    bits = np.ascontiguousarray(blocks + np.float32(0)).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, size=blocks.shape[1], dtype=np.uint64) | np.uint64(1)
    # Equal blocks share a sum, so there are at least as many distinct blocks as distinct sums; sorting sums is cheap.
    if len(np.unique((bits * factors).sum(axis=1, dtype=np.uint64))) > limit:
        return None
    distinct: np.ndarray = np.unique(blocks + np.float32(0), axis=0)
    return distinct if len(distinct) <= limit else None


def fit(
    blocks: np.ndarray, k: int, *, method: str = "faiss", seed: int, zero_motif: bool = True, device: str = "cpu"
) -> np.ndarray:
    """Motifs (k', s) float32 for blocks (n, s) float32; k' <= k.

    zero_motif: motif 0 is the all-zero block, and the method finds the other k - 1.
    Fewer than k motifs come back where there are fewer distinct blocks; then they are exactly those.
    """
    blocks = np.ascontiguousarray(blocks, dtype=np.float32)
    function = get_fit(method)
    zero = np.zeros((1 if zero_motif else 0, blocks.shape[1]), dtype=np.float32)
    wanted = k - len(zero)
    if wanted == 0:
        return zero
    if zero_motif:
        blocks = blocks[blocks.any(axis=1)] if method != "random" else blocks
    distinct = None if method == "random" else distinct_blocks(blocks, wanted)
    if distinct is None:
        distinct = function(blocks, min(wanted, len(blocks)), seed=seed, device=device)
    return np.concatenate([zero, distinct])


def backend(device: str) -> dict[str, Any]:
    """What the report says of FAISS and the GPU: version, GPUs it sees, whether it uses one."""
    faiss = load_faiss()
    if faiss is None:
        return {"faiss": None, "gpus": 0, "used_gpu": False}
    gpus = int(getattr(faiss, "get_num_gpus", lambda: 0)())
    return {"faiss": faiss.__version__, "gpus": gpus, "used_gpu": clustering_device(device) == "cuda"}
