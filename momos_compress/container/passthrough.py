"""The stored dtype of tensors beside the mosaic: their own, or float16 where that is exact enough."""

import torch

from momos_compress.settings import Passthrough

HALF_TOLERANCE = 2.0**-11
"""Largest relative RMS error of float16 for values in its normal range: half a unit in the last place."""


def fits_half(tensor: torch.Tensor) -> bool:
    """Whether float16 holds all values without overflow, with a relative RMS error of at most 2^-11."""
    values = tensor.double()
    if not bool(torch.isfinite(values).all()):
        return False
    error = values.half().double() - values
    if not bool(torch.isfinite(error).all()):
        return False
    return bool(error.square().sum() <= HALF_TOLERANCE**2 * values.square().sum())


def stored_dtype(tensor: torch.Tensor, mode: Passthrough) -> torch.dtype:
    """Choose the dtype that a tensor beside the mosaic is stored in.

    bfloat16 stays bfloat16: float16 is as large and has a smaller range.

    Args:
        tensor: The tensor.
        mode: ``auto`` stores float32 and float64 as float16 where that fits; ``keep`` changes no dtype.
    """
    if mode == "auto" and tensor.dtype in (torch.float32, torch.float64) and tensor.numel() and fits_half(tensor):
        return torch.float16
    return tensor.dtype
