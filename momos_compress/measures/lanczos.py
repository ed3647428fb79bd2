"""The two largest eigenvalues of a symmetric matrix >= 0, by Lanczos with bounds on what it leaves out (ARPACK)."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from momos_compress.measures.bipartite import Vector


@dataclass(frozen=True)
class Effort:
    """What ARPACK may take: vectors of its basis, and restarts."""

    vectors: int
    restarts: int


INVERSE_EFFORT = Effort(vectors=160, restarts=12)
"""A product by an inverse is dear enough for a large basis that saves some."""
ROUGH = 1e-3
"""Relative residual of a first look at mu_2."""
FIRST_TOLERANCE = 1e-8
"""Relative residual asked of mu_1."""
FINEST = 2e-11
"""Least relative residual that ARPACK can give."""
ACCURACY = 5e-7
"""Relative error of a figure that the residuals must rule out."""
RESOLUTION = 1e-12
"""Share of mu_1 below which a difference is rounding, and given as 0."""

Apply = Callable[[Vector], Vector]
"""The product of a matrix with a vector."""
# Older SciPy has no such argument; its ARPACK draws from a fixed seed.
_SEEDED = {"rng": 0} if "rng" in inspect.signature(eigsh).parameters else {}


def two_largest(
    apply: Apply,
    size: int,
    known: Vector | None,
    tolerance: Callable[[float, float], float],
    effort: Effort,
) -> tuple[float, float, float] | None:
    """Find the two largest eigenvalues of a matrix >= 0.

    They are found one after the other, the second with the first moved to the low end: a search for both at once would
    overlook that the largest is there twice, or nearly.

    Args:
        apply: The product with the matrix.
        size: Its side.
        known: The first eigenvector, of unit length, where it is known.
        tolerance: Rough values of both -> relative residual asked of the second.
        effort: What ARPACK may take.

    Returns:
        mu_1 >= mu_2, and a bound on the error of their difference; None where ARPACK does not converge.
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


def _largest(apply: Apply, start: Vector, tolerance: float, effort: Effort) -> Vector:
    operator = LinearOperator((len(start), len(start)), matvec=apply, dtype=np.float64)
    options = {"ncv": effort.vectors, "maxiter": effort.restarts, "tol": tolerance, "v0": start, **_SEEDED}
    return np.asarray(eigsh(operator, k=1, which="LA", **options)[1][:, 0])


def two_largest_by_inverse(
    apply: Apply, w: Vector, known: Vector | None, factorise: Callable[[Vector], Apply]
) -> tuple[float, float] | None:
    """Find mu_1 and mu_2 of M = diag(w) + A >= 0 by Lanczos on the inverse of tau I - M, with tau just above mu_1.

    Args:
        apply: The product with M.
        w: Its diagonal.
        known: The first eigenvector, of unit length, where it is known.
        factorise: Diagonal of tau I - diag(w) -> inverse of tau I - M.

    Returns:
        Both; None where ARPACK does not converge.
    """
    # The inverse of tau I - M is positive, so that its powers tighten the bounds.
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
    tau = high * (1 + 1e-6)
    for _ in range(6):
        solve = factorise(tau - w)
        found = two_largest(solve, len(w), known, lambda first, second: ACCURACY / 10, INVERSE_EFFORT)
        if found is None:
            return None
        first, gap = tau - 1 / found[0], 1 / found[1] - 1 / found[0]
        # The residual is relative to tau - mu_2: tau must lie about as near to mu_1 as mu_2 does.
        if tau - first <= 4 * gap or tau - first <= 4 * RESOLUTION * high:
            return first, first - gap
        tau = first + max(gap, RESOLUTION * high)
    return None


def _enclosure(apply: Apply, x: Vector) -> tuple[float, float]:
    """Bounds of mu_1 by a vector x > 0 (Collatz and Wielandt)."""
    ratios = apply(x) / x
    return float(ratios.min()), float(ratios.max())
