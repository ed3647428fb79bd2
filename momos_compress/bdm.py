"""Algorithmic complexity of weights by the block decomposition method (Zenil et al. 2018)."""

from collections.abc import Iterable

import numpy as np
import torch

from momos_compress.bits import sign_histogram
from momos_compress.ctm import string_complexities


def bdm_of_counts(counts: np.ndarray, complexities: np.ndarray) -> float:
    """BDM = sum over the distinct blocks of CTM(b) + log2(n_b), in bits; both arrays (codes,)."""
    seen = counts > 0
    return float(np.sum(complexities[seen]) + np.sum(np.log2(counts[seen])))


def sign_bdm(weights: torch.Tensor | Iterable[torch.Tensor]) -> float:
    """The paper's measure (arXiv 2602.14896), in bits: 1-D BDM of one bit a weight, 1 where w > 0, in blocks of 12.

    weights: one tensor, or several that are measured as their concatenation. A last incomplete block is dropped, so
    fewer than 12 weights give 0. The measure saturates: only 4,096 distinct blocks exist.
    """
    tensors = [weights] if isinstance(weights, torch.Tensor) else weights
    return bdm_of_counts(sign_histogram(tensors), string_complexities())
