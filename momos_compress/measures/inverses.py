"""The inverse of tau I - M, M = diag(w) + A, for a graph whose gap is too small for plain Lanczos.

It is found by a banded Cholesky factor, which suits bands and chains, or by a dense Schur complement, whichever costs
less; benchmarks/topology.py measures that choice.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cho_solve_banded, cholesky_banded
from scipy.sparse import block_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from momos_compress.measures.bipartite import Graph, Vector
from momos_compress.measures.lanczos import Apply
from momos_compress.mosaic.blocks import CHUNK_VALUES

DIRECT_SIDE = 8192
"""Smaller side up to which the Schur complement is factorised: 512 MiB."""
DIRECT_PRODUCTS = 2**40
"""Multiplications that the Schur complement may take: some 20 s."""
BAND_VALUES = 2**26
"""Values of the largest band that is factorised: 512 MiB."""

Factorise = Callable[[Vector], Apply]
"""Takes the diagonal of tau I - diag(w) and gives the inverse of tau I - M."""


def cheaper_inverse(graph: Graph) -> Factorise | None:
    """The factorisation that costs less; None where both exceed their limits."""
    size, products = graph.m + graph.n, graph.m**2 * graph.n + graph.m**3 // 3
    direct = graph.m <= DIRECT_SIDE and products <= DIRECT_PRODUCTS
    if not graph.mostly_edges:
        listed, transposed = graph.listed
        adjacency = block_array([[None, listed], [transposed, None]], format="csr")
        order = reverse_cuthill_mckee(adjacency, symmetric_mode=True)
        lower = adjacency[order][:, order].tocoo()
        away = lower.row - lower.col
        width = int(away.max())
        if (width + 1) * size <= BAND_VALUES and (not direct or width**2 * size <= products):
            band = np.zeros((width + 1, size))
            band[away[away > 0], lower.col[away > 0]] = -1.0
            return lambda diagonal: _banded_inverse(band, order, diagonal)
    return (lambda diagonal: _schur_inverse(graph, diagonal)) if direct else None


def _banded_inverse(band: np.ndarray, order: np.ndarray, diagonal: Vector) -> Apply:
    """The inverse by the Cholesky factor of the band below the diagonal, in the order that makes it narrow."""
    filled = band.copy()
    filled[0] = diagonal[order]
    factor = (cholesky_banded(filled, overwrite_ab=True, lower=True), True)

    def solve(x: Vector) -> Vector:
        out = np.empty_like(x)
        out[order] = cho_solve_banded(factor, x[order])
        return out

    return solve


def _schur_inverse(graph: Graph, diagonal: Vector) -> Apply:
    """The inverse of [[a, -B], [-B^T, b]] by way of a - B b^-1 B^T, which is (m, m)."""
    m, b = graph.m, diagonal[graph.m :]
    schur = np.diag(diagonal[:m])
    for start in range(0, graph.n, step := max(1, CHUNK_VALUES // m)):
        part = graph.pattern[:, start : start + step] / np.sqrt(b[start : start + step])
        schur -= part @ part.T
    factor = cho_factor(schur, lower=True, overwrite_a=True)

    def solve(x: Vector) -> Vector:
        reached = graph.neighbours(np.concatenate([np.zeros(m), x[m:] / b]))[:m]
        rows = cho_solve(factor, x[:m] + reached)
        back = graph.neighbours(np.concatenate([rows, np.zeros(graph.n)]))[m:]
        return np.concatenate([rows, (x[m:] + back) / b])

    return solve
