"""How motifs are stored: as floating-point numbers, or as int8 multiples of one step (docs/format.md)."""

import numpy as np
import torch

from momos_compress.errors import MomosError

CODEBOOK_DTYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int8": torch.int8,
}
_LARGEST = 127


def quantise_codebook(motifs: np.ndarray, dtype: str) -> tuple[torch.Tensor, float | None]:
    """Motifs (k, s) in the dtype they are stored in, and the step that an int8 counts.

    dtype: a name of CODEBOOK_DTYPES. Raises MomosError where it cannot hold a motif.
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
    """``quantise_codebook`` of a tensor (k, s) float32 on its device, unchecked."""
    if dtype != "int8":
        return values.to(CODEBOOK_DTYPES[dtype]), None
    largest = float(values.abs().max()) if values.numel() else 0.0
    step = float(np.float32(max(largest / _LARGEST, float(np.finfo(np.float32).tiny)))) if largest else 1.0
    return (values.double() / step).round().clamp(-_LARGEST, _LARGEST).to(torch.int8), step


def decode_codebook(stored: torch.Tensor, step: float | None) -> torch.Tensor:
    """Motifs as a decoder sees them: (k, s) float32. One product of two float32 numbers for each int8."""
    return stored.float() if step is None else stored.float() * torch.tensor(step, dtype=torch.float32)
