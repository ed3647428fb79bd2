"""The spectral gap and the algebraic connectivity of a connected bipartite graph.

Both are mu_1 - mu_2 of a matrix M = diag(w) + A >= 0: w = 0 gives the gap, w = d_max - degree the connectivity. In a
connected graph mu_1 is simple (Perron and Frobenius). It is solved by closed form where it is complete, by dense
eigenvalues where a small matrix gives them, else by Lanczos, and by Lanczos on an inverse where the gap is too small.
"""

import numpy as np
from scipy.linalg import eigvalsh

from momos_compress.measures.bipartite import Graph, Vector
from momos_compress.measures.inverses import cheaper_inverse
from momos_compress.measures.lanczos import ACCURACY, RESOLUTION, Effort, two_largest, two_largest_by_inverse

DENSE_VERTICES = 600
"""Vertices up to which all eigenvalues are computed, which is faster than to search for two."""
GRAM_SIDE = 1024
"""Smaller side up to which the eigenvalues of B B^T give the gap."""
VECTORS = 40
"""Vectors of the basis of plain Lanczos."""
MIN_RESTARTS, MAX_RESTARTS = 25, 100
"""Restarts of plain Lanczos, within which its work is bounded."""
LANCZOS_WORK = 2**34
"""Multiplications that plain Lanczos may take."""


def singular_values(graph: Graph) -> tuple[float, float] | None:
    """sigma_1 and sigma_2 of B, the latter 0 where it has one row; None where no solver gets there."""
    if graph.edges == graph.pattern.size:
        return float(np.sqrt(graph.edges)), 0.0
    if graph.m <= GRAM_SIDE:
        squares = eigvalsh(graph.gram(), subset_by_index=[graph.m - 2, graph.m - 1])
        return float(np.sqrt(squares[1])), float(np.sqrt(max(0.0, squares[0])))
    return _two_largest(graph, np.zeros(graph.m + graph.n))


def connectivity(graph: Graph) -> float | None:
    """The second smallest eigenvalue of L; None where no solver gets there, 0 where it is too small to be told."""
    greatest = graph.degrees.max()
    if graph.m + graph.n <= DENSE_VERTICES:
        gap = float(eigvalsh(graph.laplacian(), subset_by_index=[1, 1])[0])
    else:
        found = _two_largest(graph, greatest - graph.degrees)
        if found is None:
            return None
        gap = found[0] - found[1]
    return gap if gap > RESOLUTION * greatest else 0.0


def _two_largest(graph: Graph, w: Vector) -> tuple[float, float] | None:
    """mu_1 and mu_2 of M = diag(w) + A, good to ACCURACY of their difference or to rounding."""

    def apply(x: Vector) -> Vector:
        return np.asarray(w * x + graph.neighbours(x))

    # Where w is d_max - degree, or all degrees are one, the first vector is known, and even.
    start = np.ones(graph.m + graph.n)
    known = start / np.sqrt(len(start)) if w.any() or np.ptp(graph.degrees) == 0 else None
    step = 2 * graph.listed[0].nnz + 2 * VECTORS * len(start)
    restarts = min(MAX_RESTARTS, max(MIN_RESTARTS, LANCZOS_WORK // (step * VECTORS)))

    def tolerance(first: float, second: float) -> float:
        return ACCURACY / 4 * (first - second) / abs(second)

    found = two_largest(apply, len(start), known, tolerance, Effort(VECTORS, restarts))
    if found is not None:
        first, second, errors = found
        if errors <= ACCURACY * (first - second):
            return first, second
    factorise = cheaper_inverse(graph)
    return None if factorise is None else two_largest_by_inverse(apply, w, known, factorise)
