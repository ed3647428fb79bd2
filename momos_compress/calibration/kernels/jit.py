"""How loops are compiled: without Python's lock, and kept on disk where a place for them can be written."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")

# Sums may be fused, and minima be taken without a thought for NaN and for the sign of zero: only so are they
# vectorised. Sums keep their order.
MATH = {"contract", "nnan", "nsz"}


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function for each type of its arguments, at its first call."""
    try:
        made = numba.njit(function, nogil=True, cache=True, fastmath=MATH)
    except RuntimeError:  # neither the package's directory, nor NUMBA_CACHE_DIR, nor the user's can be written
        made = numba.njit(function, nogil=True, fastmath=MATH)
    kept: Callable[P, R] = made
    return kept
