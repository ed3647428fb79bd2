"""Algorithmic complexity of weights by the block decomposition method (Zenil et al. 2018)."""

from collections.abc import Iterable

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.measures.bits import block_codes, sign_bits, sign_histogram
from momos_compress.measures.ctm import matrix_complexities, string_complexities
from momos_compress.measures.planes import CODES, matrix_codes, plane_histograms

WINDOW = 256
"""Blocks in a window of windowed BDM: few enough of the 4,096 strings that it does not saturate."""

_LOG2 = np.log2(np.arange(1, WINDOW + 1))


def bdm_of_counts(counts: np.ndarray, complexities: np.ndarray) -> float:
    """BDM = sum over the distinct blocks of CTM(b) + log2(n_b), in bits; both arrays (codes,)."""
    return bdm_and_entropy(counts, complexities)[0]


def bdm_and_entropy(counts: np.ndarray, complexities: np.ndarray) -> tuple[float, float]:
    """BDM of a histogram of blocks, in bits, and the Shannon entropy of the same blocks, in bits per block.

    Both arrays (codes,); without blocks both are 0.
    """
    seen = np.flatnonzero(counts > 0)  # of bools it takes a tenth of the time
    if not len(seen):
        return 0.0, 0.0
    often = counts[seen]
    logs, total = np.log2(often), float(often.sum())
    # H = -sum(n/N log2(n/N)) = log2(N) - sum(n log2(n)) / N; not by np.dot, whose threads cost more than they add
    entropy = float(np.log2(total) - (often * logs).sum() / total)
    return float(complexities[seen].sum() + logs.sum()), max(0.0, entropy)


def bdm_range(blocks: int, complexities: np.ndarray) -> tuple[float, float]:
    """Least and greatest BDM, in bits, that so many blocks can have.

    Least: all blocks are the simplest one. Greatest: as many distinct blocks as there are, the most complex ones first,
    each as often as the others: another distinct block adds more than any repetition.
    """
    if blocks < 1:
        return 0.0, 0.0
    low = float(complexities.min() + np.log2(blocks))
    distinct = min(blocks, len(complexities))
    often, more = divmod(blocks, distinct)
    repeats = (distinct - more) * np.log2(often) + more * np.log2(often + 1)
    return low, float(np.sort(complexities)[-distinct:].sum() + repeats)


def sign_bdm(weights: torch.Tensor | Iterable[torch.Tensor]) -> float:
    """The paper's measure (arXiv 2602.14896), in bits: 1-D BDM of one bit a weight, 1 where w > 0, in blocks of 12.

    weights: one tensor, or several that are measured as their concatenation. A last incomplete block is dropped, so
    fewer than 12 weights give 0. The measure saturates: only 4,096 distinct blocks exist (see ``bdm_range``).
    """
    tensors = [weights] if isinstance(weights, torch.Tensor) else weights
    return bdm_of_counts(sign_histogram(tensors), string_complexities())


def windowed_bdm(weights: torch.Tensor | Iterable[torch.Tensor]) -> float:
    """Sum, in bits, of the 1-D BDM of each window of 256 consecutive 12-bit blocks of each tensor's sign bits.

    Windows begin anew with every tensor; what is left of it after its last whole window is dropped, so a tensor of
    fewer than 3,072 weights gives 0. As a window holds few of the 4,096 strings, the measure grows with the number of
    weights and does not saturate.
    """
    tensors = [weights] if isinstance(weights, torch.Tensor) else weights
    return sum(windowed_bdm_of_codes(block_codes(bits)) for tensor in tensors for bits in sign_bits(tensor))


def windowed_bdm_of_codes(codes: np.ndarray) -> float:
    """Windowed BDM, in bits, of 12-bit blocks (n,) uint16 in their order; the first one begins a window."""
    windows = codes[: len(codes) // WINDOW * WINDOW].reshape(-1, WINDOW)
    ordered = np.sort(windows, axis=1)
    first = np.ones(ordered.shape, dtype=bool)  # the first of each run of equal blocks
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    repeats = np.diff(starts, append=ordered.size)  # a run never crosses a row: each row begins one
    return float(string_complexities()[ordered.reshape(-1)[starts]].sum() + _LOG2[repeats - 1].sum())


def matrix_bdm(bits: torch.Tensor | np.ndarray) -> float:
    """2-D BDM, in bits, of a binary matrix (m, n): non-overlapping 4 x 4 blocks, the rest at the border dropped.

    Sides under 4 give 0. MomosError for another number of dimensions, or values other than 0 and 1.
    """
    matrix = bits.detach().cpu().numpy() if isinstance(bits, torch.Tensor) else np.asarray(bits)
    if matrix.ndim != 2:
        raise MomosError(f"a matrix of bits has two dimensions, not the shape {list(matrix.shape)}")
    if matrix.dtype != bool and not np.isin(matrix, (0, 1)).all():
        raise MomosError("a matrix of bits holds other values than 0 and 1; compare or quantise it first")
    counts = np.bincount(matrix_codes(matrix.astype(bool, copy=False)), minlength=CODES)
    return bdm_of_counts(counts, matrix_complexities())


def qubd(weight: torch.Tensor, planes: int = 8, percentile: float | None = None) -> tuple[float, ...]:
    """QuBD (arXiv 2605.15551): 2-D BDM, in bits, of each bit-plane of a quantised weight, most significant first.

    weight: two or more dimensions, measured as (out, rest); a side under 4 gives zeros. planes: 1 to 16 bits.
    percentile: quantise over the percentiles 100 - p to p, clamping, instead of over [min, max]. The low planes of any
    weight look random: it is in the high ones that structure shows. MomosError for NaN or infinite values.
    """
    complexities = matrix_complexities()
    return tuple(bdm_of_counts(counts, complexities) for counts in plane_histograms(weight, planes, percentile))
