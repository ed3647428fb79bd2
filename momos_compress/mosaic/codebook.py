"""Motifs as they are stored: floating-point numbers, or int8 multiples of one step (docs/format.md)."""

import numpy as np
import torch

from momos_compress.errors import MomosError

CODEBOOK_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
}
"""Setting ``codebook_dtype`` -> the stored dtype."""
_LARGEST = 127


def quantise_codebook(motifs: np.ndarray, dtype: str) -> tuple[torch.Tensor, float | None]:
    """Convert motifs to the dtype they are stored in.

    Args:
        motifs: The motifs, (k, s).
        dtype: A name in ``CODEBOOK_DTYPES``.

    Returns:
        The stored motifs, (k, s), and the step whose multiples they are, None for floating-point dtypes.

    Raises:
        MomosError: A motif is not finite, or beyond the dtype.
    """
    values = torch.from_numpy(np.ascontiguousarray(motifs, dtype=np.float32))
    stored, step = round_codebook(values, dtype)
    if not bool(torch.isfinite(values).all() & torch.isfinite(decode_codebook(stored, step)).all()):
        raise MomosError(
            f"a motif has the value {float(np.abs(motifs).max()):.3g}, beyond {dtype}; use "
            "`codebook_dtype='float32'` or `codebook_dtype='bfloat16'`"
        )
    return stored, step


def round_codebook(values: torch.Tensor, dtype: str) -> tuple[torch.Tensor, float | None]:
    """Convert motifs to the dtype they are stored in, on their device and without a check.

    Args:
        values: The motifs, (k, s) float32.
        dtype: A name in ``CODEBOOK_DTYPES``.

    Returns:
        The stored motifs, (k, s), and the step whose multiples they are, None for floating-point dtypes.
    """
    if dtype != "int8":
        return values.to(CODEBOOK_DTYPES[dtype]), None
    largest = float(values.abs().max()) if values.numel() else 0.0
    step = float(np.float32(max(largest / _LARGEST, float(np.finfo(np.float32).tiny)))) if largest else 1.0
    return (values.double() / step).round().clamp(-_LARGEST, _LARGEST).to(torch.int8), step


def decode_codebook(stored: torch.Tensor, step: float | None) -> torch.Tensor:
    """Decode stored motifs to (k, s) float32.

    An int8 is multiplied by the step in float32. That rounds once, so every decoder finds the same numbers.

    Args:
        stored: The motifs as stored, (k, s).
        step: What int8 motifs are multiples of; None for floating-point motifs.
    """
    return stored.float() if step is None else stored.float() * torch.tensor(step, dtype=torch.float32)
