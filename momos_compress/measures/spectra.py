"""The two largest eigenvalues that a connected bipartite graph's spectral gap and connectivity ask for.

Both are mu_1 - mu_2 of a matrix M = diag(w) + A >= 0: w = 0 gives the gap, w = d_max - degree the connectivity. In a
connected graph mu_1 is simple (Perron and Frobenius), so each component is solved by itself: by closed form where it is
complete, by dense eigenvalues where a small matrix gives them, else by Lanczos on the edges or, where those are fewer,
on the zeros. Bands and chains have gaps too small for that; there Lanczos takes the inverse of tau I - M, by a banded
Cholesky factor or a dense Schur complement, whichever costs less. benchmarks/topology.py measures that choice.
"""

import inspect
from collections.abc import Callable
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cho_solve_banded, cholesky_banded, eigvalsh
from scipy.sparse import block_array, csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from momos_compress.mosaic.blocks import CHUNK_VALUES

DENSE_VERTICES = 600
"""Vertices up to which all eigenvalues are computed, which is faster than to search for two."""
GRAM_SIDE = 1024
"""Smaller side up to which the eigenvalues of B B^T give the gap."""
DIRECT_SIDE, DIRECT_PRODUCTS, BAND_VALUES = 8192, 2**40, 2**26
"""What the two factorisations may take: 512 MiB each, and some 20 s."""
VECTORS, INVERSE_VECTORS, INVERSE_RESTARTS, MIN_RESTARTS, MAX_RESTARTS = 40, 160, 12, 25, 100
"""ARPACK's basis and restarts. A product by the inverse is dear enough for a large basis that saves some."""
LANCZOS_WORK = 2**34
"""Multiplications that plain Lanczos may take, within its limits of restarts."""
ROUGH, FIRST_TOLERANCE, FINEST = 1e-3, 1e-8, 2e-11
"""Relative residuals asked of ARPACK: for a first look, for mu_1, and the least that it can give."""
ACCURACY = 5e-7
"""The relative error of a figure that the residuals must rule out."""
RESOLUTION = 1e-12
"""A difference below this share of mu_1 is rounding, and given as 0."""

Vector = np.ndarray
Apply = Callable[[Vector], Vector]
# Older SciPy has no such argument; its ARPACK draws from a fixed seed.
_SEEDED = {"rng": 0} if "rng" in inspect.signature(eigsh).parameters else {}


def sparse(pattern: np.ndarray) -> csr_array:
    """(m, n) bool -> float64; made in strips, as NumPy's own list of places takes 16 bytes each."""
    m, n = pattern.shape
    strip = max(1, CHUNK_VALUES // max(1, n))
    parts = [np.nonzero(pattern[start : start + strip])[1].astype(np.int32) for start in range(0, m, strip)]
    indices = np.concatenate([np.empty(0, dtype=np.int32), *parts])
    ends = np.concatenate([[0], np.cumsum(pattern.sum(axis=1))]).astype(np.int32)
    return csr_array((np.ones(len(indices)), indices, ends), shape=(m, n))


class Graph:
    """A connected bipartite graph with at least one edge; its rows are the smaller side."""

    def __init__(self, pattern: np.ndarray) -> None:
        self.pattern = pattern if len(pattern) <= pattern.shape[1] else pattern.T
        self.m, self.n = self.pattern.shape
        self.degrees = np.concatenate([self.pattern.sum(axis=1), self.pattern.sum(axis=0)]).astype(np.float64)
        self.edges = int(self.degrees.sum()) // 2
        self.mostly_edges = 2 * self.edges > self.pattern.size

    def singular_values(self) -> tuple[float, float] | None:
        """sigma_1 and sigma_2 of B (0 where it has one row); None where no solver gets there."""
        if self.edges == self.m * self.n:
            return float(np.sqrt(self.edges)), 0.0
        if self.m <= GRAM_SIDE:
            squares = eigvalsh(self._gram(), subset_by_index=[self.m - 2, self.m - 1])
            return float(np.sqrt(squares[1])), float(np.sqrt(max(0.0, squares[0])))
        return self._two_largest(np.zeros(self.m + self.n))

    def connectivity(self) -> float | None:
        """The second smallest eigenvalue of L; None where no solver gets there, 0 where it is too small to be told."""
        if self.m + self.n <= DENSE_VERTICES:
            laplacian = np.diag(self.degrees)
            laplacian[: self.m, self.m :] -= self.pattern
            laplacian[self.m :, : self.m] -= self.pattern.T
            gap = float(eigvalsh(laplacian, subset_by_index=[1, 1])[0])
        else:
            found = self._two_largest(self.degrees.max() - self.degrees)
            if found is None:
                return None
            gap = found[0] - found[1]
        return gap if gap > RESOLUTION * self.degrees.max() else 0.0

    @cached_property
    def _fewer(self) -> tuple[csr_array, csr_array]:
        """The edges, or the zeros where those are fewer: (m, n), and transposed."""
        listed = sparse(~self.pattern if self.mostly_edges else self.pattern)
        return listed, listed.T

    def _neighbours(self, x: Vector) -> Vector:
        """A x."""
        listed, transposed = self._fewer
        rows, columns = x[: self.m], x[self.m :]
        sums = np.concatenate([listed @ columns, transposed @ rows])
        if self.mostly_edges:
            sums = np.concatenate([np.full(self.m, columns.sum()), np.full(self.n, rows.sum())]) - sums
        return np.asarray(sums)

    def _gram(self) -> np.ndarray:
        """B B^T (m, m) float64. Its entries are counts, so float32 sums them exactly up to 2^24 columns."""
        listed, transposed = self._fewer
        if listed.nnz * 32 <= self.pattern.size:
            gram = (listed @ transposed).toarray()
            if self.mostly_edges:  # (1 - C)(1 - C)^T, where C are the zeros
                zeros = self.n - self.degrees[: self.m]
                gram += self.n - zeros[:, None] - zeros
            return np.asarray(gram)
        gram = np.zeros((self.m, self.m))
        for start in range(0, self.n, step := max(1, CHUNK_VALUES // self.m)):
            part = self.pattern[:, start : start + step].astype(np.float32)
            gram += part @ part.T
        return gram

    def _two_largest(self, w: Vector) -> tuple[float, float] | None:
        """mu_1 and mu_2 of M = diag(w) + A, good to ACCURACY of their difference or to rounding."""

        def apply(x: Vector) -> Vector:
            return np.asarray(w * x + self._neighbours(x))

        # Where w is d_max - degree, or all degrees are one, the first vector is known, and even.
        start = np.ones(self.m + self.n)
        known = start / np.sqrt(len(start)) if w.any() or np.ptp(self.degrees) == 0 else None
        step = 2 * self._fewer[0].nnz + 2 * VECTORS * len(start)
        restarts = min(MAX_RESTARTS, max(MIN_RESTARTS, LANCZOS_WORK // (step * VECTORS)))

        def tolerance(first: float, second: float) -> float:
            return ACCURACY / 4 * (first - second) / abs(second)

        found = _lanczos(apply, len(start), known, tolerance, (VECTORS, restarts))
        if found is not None:
            first, second, errors = found
            if errors <= ACCURACY * (first - second):
                return first, second
        factorise = self._factorisation()
        return None if factorise is None else _by_inverse(apply, w, known, factorise)

    def _factorisation(self) -> Callable[[Vector], Apply] | None:
        """A function that takes the diagonal of tau I - diag(w) and gives the inverse of tau I - M; the cheaper one."""
        size, products = self.m + self.n, self.m**2 * self.n + self.m**3 // 3
        direct = self.m <= DIRECT_SIDE and products <= DIRECT_PRODUCTS
        if not self.mostly_edges:
            listed, transposed = self._fewer
            adjacency = block_array([[None, listed], [transposed, None]], format="csr")
            order = reverse_cuthill_mckee(adjacency, symmetric_mode=True)
            lower = adjacency[order][:, order].tocoo()
            away = lower.row - lower.col
            width = int(away.max())
            if (width + 1) * size <= BAND_VALUES and (not direct or width**2 * size <= products):
                band = np.zeros((width + 1, size))
                band[away[away > 0], lower.col[away > 0]] = -1.0
                return lambda diagonal: _banded_inverse(band, order, diagonal)
        return self._schur_inverse if direct else None

    def _schur_inverse(self, diagonal: Vector) -> Apply:
        """The inverse of [[a, -B], [-B^T, b]] by way of a - B b^-1 B^T, which is (m, m)."""
        m, b = self.m, diagonal[self.m :]
        schur = np.diag(diagonal[:m])
        for start in range(0, self.n, step := max(1, CHUNK_VALUES // m)):
            part = self.pattern[:, start : start + step] / np.sqrt(b[start : start + step])
            schur -= part @ part.T
        factor = cho_factor(schur, lower=True, overwrite_a=True)

        def solve(x: Vector) -> Vector:
            reached = self._neighbours(np.concatenate([np.zeros(m), x[m:] / b]))[:m]
            rows = cho_solve(factor, x[:m] + reached)
            return np.concatenate([rows, (x[m:] + self._neighbours(np.concatenate([rows, np.zeros(self.n)]))[m:]) / b])

        return solve


def _banded_inverse(band: np.ndarray, order: np.ndarray, diagonal: Vector) -> Apply:
    filled = band.copy()
    filled[0] = diagonal[order]
    factor = (cholesky_banded(filled, overwrite_ab=True, lower=True), True)

    def solve(x: Vector) -> Vector:
        out = np.empty_like(x)
        out[order] = cho_solve_banded(factor, x[order])
        return out

    return solve


def _lanczos(
    apply: Apply,
    size: int,
    known: Vector | None,
    tolerance: Callable[[float, float], float],
    effort: tuple[int, int],
) -> tuple[float, float, float] | None:
    """mu_1 >= mu_2, the two largest eigenvalues of a matrix >= 0, and a bound on the error of their difference.

    None where ARPACK does not converge. One after the other, the second with the first moved to the low end: a search
    for both at once would overlook that the largest is there twice, or nearly. known: the first vector, where it is
    known. tolerance: the second's relative residual, told from rough values of both. effort: vectors and restarts.
    """
    starts = np.random.default_rng(0).standard_normal((2, size))
    try:
        vector_1 = _largest(apply, starts[0], FIRST_TOLERANCE, effort) if known is None else known
        image = apply(vector_1)
        first = float(vector_1 @ image)

        def deflated(x: Vector) -> Vector:
            share = vector_1 @ x
            y = apply(x - share * vector_1)
            return np.asarray(y - (vector_1 @ y + first * share) * vector_1)

        rough = _largest(deflated, starts[1], ROUGH, effort)
        wanted = tolerance(first, float(rough @ deflated(rough)))
        if wanted < FINEST:
            return None
        vector_2 = _largest(deflated, rough, wanted, effort) if wanted < ROUGH else rough
    except ArpackError:
        return None
    image_2 = apply(vector_2)
    second = float(vector_2 @ image_2)
    residual_1 = float(np.linalg.norm(image - first * vector_1))
    residual_2 = float(np.linalg.norm(image_2 - second * vector_2))
    # The first stands alone, so that its error is of the second order (Kato and Temple).
    errors = residual_1 * min(1.0, residual_1 / max(first - second, 1e-300)) + residual_2
    return max(first, second), min(first, second), errors


def _largest(apply: Apply, start: Vector, tolerance: float, effort: tuple[int, int]) -> Vector:
    operator = LinearOperator((len(start), len(start)), matvec=apply, dtype=np.float64)
    options = {"ncv": effort[0], "maxiter": effort[1], "tol": tolerance, "v0": start, **_SEEDED}
    return np.asarray(eigsh(operator, k=1, which="LA", **options)[1][:, 0])


def _by_inverse(
    apply: Apply, w: Vector, known: Vector | None, factorise: Callable[[Vector], Apply]
) -> tuple[float, float] | None:
    """mu_1 and mu_2 of M >= 0 by Lanczos on the inverse of tau I - M, tau just above mu_1."""
    # For any x > 0 the ratios (M x)_i / x_i enclose mu_1 (Collatz and Wielandt); the inverse of tau I - M is positive,
    # so that its powers tighten them.
    x = np.ones(len(w))
    low, high = _enclosure(apply, x)
    for _ in range(8):
        if high - low <= 1e-6 * high:
            break
        solve = factorise(high * (1 + 1e-9) - w)
        for _ in range(8):
            x = solve(x)
            x /= x.max()
        low, high = _enclosure(apply, x)
    tau, effort = high * (1 + 1e-6), (INVERSE_VECTORS, INVERSE_RESTARTS)
    for _ in range(6):
        solve = factorise(tau - w)
        found = _lanczos(solve, len(w), known, lambda first, second: ACCURACY / 10, effort)
        if found is None:
            return None
        first, gap = tau - 1 / found[0], 1 / found[1] - 1 / found[0]
        # The residual is relative to tau - mu_2, so that tau must lie about as near.
        if tau - first <= 4 * gap or tau - first <= 4 * RESOLUTION * high:
            return first, first - gap
        tau = first + max(gap, RESOLUTION * high)
    return None


def _enclosure(apply: Apply, x: Vector) -> tuple[float, float]:
    ratios = apply(x) / x
    return float(ratios.min()), float(ratios.max())
