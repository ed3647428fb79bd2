"""Exact nearest motif for each block, in bounded memory: never an (N, k) matrix.

Two searches: a kd-tree (scipy, float64 distances), which wins in few dimensions over many motifs, and FAISS's flat
index (float32 distances), which wins elsewhere and runs on the GPU. The thresholds below are where the two met on two
cores over the blocks of a ResNet-50 (``benchmarks/nearest.py``).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from momos_compress.errors import MomosError
from momos_compress.fitting.faiss_library import faiss_on_gpu, load_faiss

Ties = Literal["any", "lowest"]
Search = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""From blocks (m, s) and a number of neighbours n, the squared distances (m, n), rising, and indices (m, n)."""

FLOAT32_EPS = float(np.finfo(np.float32).eps)
"""Relative rounding of a float32 distance."""

FLOAT64_SLACK = 1e-12
"""Relative rounding allowed for in a float64 distance."""

GPU_NEIGHBOURS = 2048
"""Neighbours that FAISS's GPU index finds at a time, at most."""


def choose_search(s: int, k: int, *, ties: Ties, device: str) -> Literal["faiss", "kdtree"]:
    """Choose the faster search for k motifs of s values, among those that are installed."""
    faiss = load_faiss()
    if faiss is None:
        return "kdtree"
    if device == "cuda":
        return "faiss"
    if s <= 2:
        return "kdtree"  # also the more exact: float32 distances cancel badly between so few values
    if ties == "lowest":
        return "kdtree" if s <= 8 and k >= 4**s else "faiss"
    return "kdtree" if s <= 5 and k > 8192 * (s - 1) else "faiss"


def kdtree_search(motifs: np.ndarray) -> Search:
    """Search exactly in a kd-tree over motifs (k, s): float64 distances, on all cores."""
    from scipy.spatial import cKDTree

    tree = cKDTree(motifs, balanced_tree=False, compact_nodes=False)

    def search(blocks: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        # Not scipy's own workers: where a signal ends the wait for them, they run on over memory that is freed.
        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool:
            parts = np.array_split(blocks, max(1, min(len(blocks), 8 * workers)))
            asked = [pool.submit(tree.query, part, k=np.arange(1, neighbours + 1)) for part in parts]
            try:
                found = [answer.result() for answer in asked]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return np.concatenate([d for d, _ in found]) ** 2, np.concatenate([i for _, i in found])

    return search


def _faiss_search(motifs: np.ndarray, device: str) -> Search:
    faiss = load_faiss()
    if faiss is None:
        raise MomosError("FAISS is not installed; pip install faiss-cpu (or faiss-gpu on Linux)")
    index = faiss.IndexFlatL2(motifs.shape[1])
    if device == "cuda":
        if not faiss_on_gpu(faiss):
            raise MomosError("FAISS sees no GPU; use `device='cpu'`")
        index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    index.add(np.ascontiguousarray(motifs, dtype=np.float32))

    def search(blocks: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        distances, indices = index.search(np.ascontiguousarray(blocks, dtype=np.float32), neighbours)
        return distances, indices

    return search


class NearestMotif:
    """Finds the nearest of motifs (k, s) float32 in squared L2 distance.

    Attributes:
        motifs: The distinct motifs, in the order of their first appearance.
        first: The index of each distinct motif's first appearance.
        ties: "lowest" compares distances in float64 and gives the lowest index among equals (the paper's rule, exact
            for every block); "any" takes the search's own answer, whose distance is least up to that search's rounding.
        kind: The search: "faiss" or "kdtree".

    Example:
        >>> motifs = np.array([[0, 0], [1, 1]], dtype=np.float32)
        >>> NearestMotif(motifs)(np.array([[0.9, 0.8]], dtype=np.float32)).tolist()
        [1]
    """

    def __init__(
        self, motifs: np.ndarray, *, device: str = "cpu", ties: Ties = "any", search: str | None = None
    ) -> None:
        # Equal motifs would tie everywhere: search among the distinct ones, and name the first of each.
        distinct, first = np.unique(motifs + np.float32(0), axis=0, return_index=True)
        order = np.argsort(first)
        self.motifs, self.first, self.ties = np.ascontiguousarray(distinct[order]), first[order], ties
        k, s = self.motifs.shape
        self.kind = search or choose_search(s, k, ties=ties, device=device)
        self._on_gpu = device == "cuda" and self.kind == "faiss"
        if self.kind == "kdtree":
            self._search, self._slack = kdtree_search(self.motifs), 0.0
        else:
            self._search = _faiss_search(self.motifs, device)
            self._slack = (s + 8) * FLOAT32_EPS  # times |x|^2 + |c|^2: over the rounding of |x|^2 + |c|^2 - 2 x.c

    def __call__(self, blocks: np.ndarray) -> np.ndarray:
        """Find the nearest motif of each block (m, s) float32: indices (m,) int32 into the motifs given."""
        if self.ties == "any" or len(self.motifs) == 1:
            _, indices = self._search(blocks, 1)
            chosen = indices[:, 0]
        else:
            chosen = self._lowest(blocks)
        return self.first[chosen].astype(np.int32)

    def _lowest(self, blocks: np.ndarray) -> np.ndarray:
        """Widen the search until the next candidate is surely farther than the best, then decide in float64."""
        chosen = np.full(len(blocks), -1, dtype=np.int64)
        open_rows, neighbours, k = np.arange(len(blocks)), 2, len(self.motifs)
        while len(open_rows):
            neighbours = min(neighbours, k)
            rows = max(1, 2**22 // (neighbours * blocks.shape[1]))  # bounds the candidates held at once
            if neighbours > GPU_NEIGHBOURS and self._on_gpu:
                self._search, self._slack, self._on_gpu = kdtree_search(self.motifs), 0.0, False
            still_open = []
            for start in range(0, len(open_rows), rows):
                part = open_rows[start : start + rows]
                x = blocks[part]
                found, candidates = self._search(x, neighbours)
                exact = np.square(x[:, None, :].astype(np.float64) - self.motifs[candidates].astype(np.float64)).sum(
                    axis=2
                )
                best = exact.min(axis=1)
                index = np.where(exact == best[:, None], candidates, k).min(axis=1)
                # A motif c not found has |c|^2 <= 2 |x|^2 + 2 d^2, so its rounding is bounded by x and d alone.
                norm = np.square(x, dtype=np.float64).sum(axis=1)
                least = (found[:, -1] - 3 * self._slack * norm) * (1 - 2 * self._slack - FLOAT64_SLACK)
                sure = (neighbours == k) | (least > best)
                chosen[part[sure]] = index[sure]
                still_open.append(part[~sure])
            open_rows, neighbours = np.concatenate(still_open), neighbours * 4
        return chosen
