"""The stored dtype of tensors beside the mosaic: their own, or float16 where that is exact enough."""

import torch

from momos_compress.settings import Passthrough

HALF_TOLERANCE = 2.0**-11
"""Largest relative RMS error of float16 for values in its normal range: half a unit in the last place."""

PIECE_VALUES = 2**20
"""Values that are looked at at a time."""


def fits_half(tensor: torch.Tensor) -> bool:
    """Whether float16 holds all values without overflow, with a relative RMS error of at most 2^-11."""
    errors = squares = 0.0
    for part in torch.split(tensor.reshape(-1), PIECE_VALUES):  # in double precision a tensor is twice as large
        values = part.double()
        error = values.half().double() - values
        if not bool(torch.isfinite(values).all()) or not bool(torch.isfinite(error).all()):
            return False
        errors += float(error.square().sum())
        squares += float(values.square().sum())
    return errors <= HALF_TOLERANCE**2 * squares


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
