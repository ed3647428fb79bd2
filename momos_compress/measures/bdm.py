"""Algorithmic complexity of weights by the block decomposition method (Zenil et al. 2018)."""

from collections.abc import Iterable

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.measures.bits import block_codes, sign_bits, sign_histogram
from momos_compress.measures.ctm import matrix_complexities, string_complexities
from momos_compress.measures.planes import CODES, matrix_codes, plane_histograms

WINDOW = 256
"""Blocks in a window of windowed BDM, few beside the 4,096 strings so that it does not saturate."""

_LOG2 = np.log2(np.arange(1, WINDOW + 1))


def bdm_of_counts(counts: np.ndarray, complexities: np.ndarray) -> float:
    """BDM of a histogram of blocks: the sum over distinct blocks b of CTM(b) + log2(n_b) (Zenil et al. 2018).

    Args:
        counts: n_b, occurrences of each block, (codes,).
        complexities: CTM of each block in bits, (codes,).

    Returns:
        Bits; 0 without blocks.
    """
    return bdm_and_entropy(counts, complexities)[0]


def bdm_and_entropy(counts: np.ndarray, complexities: np.ndarray) -> tuple[float, float]:
    """BDM of a histogram of blocks, and the Shannon entropy of the same blocks.

    Args:
        counts: Occurrences of each block, (codes,).
        complexities: CTM of each block in bits, (codes,).

    Returns:
        BDM in bits, and entropy in bits per block; both are 0 without blocks.
    """
    seen = np.flatnonzero(counts > 0)  # of bools it takes a tenth of the time
    if not len(seen):
        return 0.0, 0.0
    often = counts[seen]
    logs, total = np.log2(often), float(often.sum())
    # H = -sum(n/N log2(n/N)) = log2(N) - sum(n log2(n)) / N, without np.dot, whose threads cost more than they add.
    entropy = float(np.log2(total) - (often * logs).sum() / total)
    return float(complexities[seen].sum() + logs.sum()), max(0.0, entropy)


def bdm_range(blocks: int, complexities: np.ndarray) -> tuple[float, float]:
    """Least and greatest BDM that so many blocks can have.

    The least is that of the simplest block alone. The greatest is that of as many distinct blocks as there can be, the
    most complex ones first and each as often as the others, as another distinct block adds more than any repetition.

    Args:
        blocks: How many blocks.
        complexities: CTM of each block in bits, (codes,).

    Returns:
        Both in bits.
    """
    if blocks < 1:
        return 0.0, 0.0
    low = float(complexities.min() + np.log2(blocks))
    distinct = min(blocks, len(complexities))
    often, more = divmod(blocks, distinct)
    repeats = (distinct - more) * np.log2(often) + more * np.log2(often + 1)
    return low, float(np.sort(complexities)[-distinct:].sum() + repeats)


def sign_bdm(weights: torch.Tensor | Iterable[torch.Tensor]) -> float:
    """The paper's measure (arXiv 2602.14896): 1-D BDM of one bit for each weight, 1 where w > 0, in blocks of 12.

    A last incomplete block is dropped. The measure saturates, as only 4,096 distinct blocks exist; ``bdm_range`` tells
    how far it can reach.

    Args:
        weights: One tensor, or several that are measured as their concatenation.

    Returns:
        Bits; 0 for fewer than 12 weights.

    Examples:
        >>> import torch, momos_compress as mc
        >>> weights = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
        >>> mc.sign_bdm(weights) > mc.sign_bdm(weights.sort().values)  # in order, the signs are simple
        True
    """
    tensors = [weights] if isinstance(weights, torch.Tensor) else weights
    return bdm_of_counts(sign_histogram(tensors), string_complexities())


def windowed_bdm(weights: torch.Tensor | Iterable[torch.Tensor]) -> float:
    """Sum of the 1-D BDM of each window of 256 consecutive 12-bit blocks of each tensor's sign bits.

    As a window holds few of the 4,096 strings, the measure grows with the number of weights and does not saturate.
    Windows begin anew with every tensor, and what is left after its last whole window is dropped.

    Args:
        weights: One tensor or several.

    Returns:
        Bits; a tensor of fewer than 3,072 weights adds 0.

    Examples:
        >>> import torch, momos_compress as mc
        >>> weights = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
        >>> 1.9 < mc.windowed_bdm(torch.cat([weights, -weights.flip(0)])) / mc.windowed_bdm(weights) < 2.1
        True
    """
    tensors = [weights] if isinstance(weights, torch.Tensor) else weights
    return sum(windowed_bdm_of_codes(block_codes(bits)) for tensor in tensors for bits in sign_bits(tensor))


def windowed_bdm_of_codes(codes: np.ndarray) -> float:
    """Windowed BDM in bits of 12-bit blocks (n,) uint16 in order, the first of which begins a window."""
    windows = codes[: len(codes) // WINDOW * WINDOW].reshape(-1, WINDOW)
    ordered = np.sort(windows, axis=1)
    first = np.ones(ordered.shape, dtype=bool)  # the first of each run of equal blocks
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    repeats = np.diff(starts, append=ordered.size)  # a run never crosses a row: each row begins one
    return float(string_complexities()[ordered.reshape(-1)[starts]].sum() + _LOG2[repeats - 1].sum())


def matrix_bdm(bits: torch.Tensor | np.ndarray) -> float:
    """2-D BDM of a binary matrix in non-overlapping 4 x 4 blocks; what is left over at the border is dropped.

    Args:
        bits: (m, n), of any dtype.

    Returns:
        Bits; 0 where a side is under 4.

    Raises:
        MomosError: There are not two dimensions, or values other than 0 and 1.

    Examples:
        >>> import torch, momos_compress as mc
        >>> random = torch.randn(16, 16, generator=torch.Generator().manual_seed(0)) > 0
        >>> mc.matrix_bdm(torch.eye(16)) < mc.matrix_bdm(random)
        True
    """
    matrix = bits.detach().cpu().numpy() if isinstance(bits, torch.Tensor) else np.asarray(bits)
    if matrix.ndim != 2:
        raise MomosError(f"a matrix of bits has two dimensions, not the shape {list(matrix.shape)}")
    if matrix.dtype != bool and not np.isin(matrix, (0, 1)).all():
        raise MomosError("a matrix of bits holds other values than 0 and 1; compare or quantise it first")
    counts = np.bincount(matrix_codes(matrix.astype(bool, copy=False)), minlength=CODES)
    return bdm_of_counts(counts, matrix_complexities())


def qubd(weight: torch.Tensor, planes: int = 8, percentile: float | None = None) -> tuple[float, ...]:
    """QuBD (arXiv 2605.15551): 2-D BDM of each bit-plane of a quantised weight.

    Structure shows in the high planes; the low ones of any weight look random.

    Args:
        weight: Of two or more dimensions, measured as (out, rest).
        planes: Bits that values are quantised to, 1 to 16.
        percentile: p in (50, 100] quantises over the percentiles 100 - p to p, clamping; None over [min, max].

    Returns:
        Bits of each plane, most significant first; zeros where a side is under 4.

    Raises:
        MomosError: The weight has no rows and columns or holds NaN or infinity, or a number is out of range.

    Examples:
        >>> import torch, momos_compress as mc
        >>> planes = mc.qubd(torch.linspace(-1, 1, 64).repeat(64, 1), planes=8)
        >>> len(planes), planes[0] < planes[-1]  # a ramp: its most significant plane is two halves
        (8, True)
    """
    complexities = matrix_complexities()
    return tuple(bdm_of_counts(counts, complexities) for counts in plane_histograms(weight, planes, percentile))
