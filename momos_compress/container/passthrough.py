"""How tensors that are not cut into blocks are stored: as they are, or in half precision where that is exact enough."""

import torch

from momos_compress.settings import Passthrough

HALF_TOLERANCE = 2.0**-11
"""Half an ulp of float16: the relative RMS error that values in its normal range have at most."""


def fits_half(tensor: torch.Tensor) -> bool:
    """Whether float16 holds the tensor with a relative RMS error of at most 2^-11, without overflow."""
    values = tensor.double()
    if not bool(torch.isfinite(values).all()):
        return False
    error = values.half().double() - values
    if not bool(torch.isfinite(error).all()):
        return False
    return bool(error.square().sum() <= HALF_TOLERANCE**2 * values.square().sum())


def stored_dtype(tensor: torch.Tensor, mode: Passthrough) -> torch.dtype:
    """The dtype to store a passed-through tensor in: float16 for float32 and float64 that fit it, else its own.

    ``keep`` never changes a dtype. bfloat16 stays: float16 has a smaller range at the same size.
    """
    if mode == "auto" and tensor.dtype in (torch.float32, torch.float64) and tensor.numel() and fits_half(tensor):
        return torch.float16
    return tensor.dtype
