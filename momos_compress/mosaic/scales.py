"""Scales of rows and columns: a byte each, in steps of an eighth of an octave, a factor of 2^(1/8) (docs/format.md)."""

import numpy as np
import torch

ONE = 192
"""The code of 1.0."""
_PER_OCTAVE = 8
OCTAVES_A_STEP = 1 / _PER_OCTAVE
"""Octaves between neighbouring codes."""
# 2^(j / 8) rounded to multiples of 2^-23, written down because libraries' pow may differ in the last bit.
_MANTISSAS = (0x800000, 0x8B95C2, 0x9837F0, 0xA5FED7, 0xB504F3, 0xC5672A, 0xD744FD, 0xEAC0C7)


def _table() -> torch.Tensor:
    octave, step = np.divmod(np.arange(256) - ONE, _PER_OCTAVE)
    return torch.from_numpy(np.ldexp(np.array(_MANTISSAS, dtype=np.float64)[step], octave - 23).astype(np.float32))


_VALUES = _table()


def scale_values(codes: torch.Tensor) -> torch.Tensor:
    """Decode scales: code e means 2^((e - 192) / 8), from 2^-24 to 2^7.875.

    Args:
        codes: uint8, any shape.

    Returns:
        float32 of the same shape, on the same device.
    """
    return _VALUES.to(codes.device)[codes.long()]


def apply_scales(blocks: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> None:
    """Multiply decoded blocks in place by their rows' scales, and the product by their columns' (docs/format.md).

    Args:
        blocks: All blocks of a parameter, (count, s) float32, contiguous.
        rows: Codes of its rows' scales, (rows,) uint8; (0,) leaves the blocks as they are.
        columns: Codes of its columns' scales, (columns,) uint8; (0,) leaves out these. Padding is not multiplied.
    """
    if len(rows):
        matrix = blocks.view(len(rows), -1)
        matrix.mul_(scale_values(rows)[:, None])
        if len(columns):
            matrix[:, : len(columns)].mul_(scale_values(columns))


def round_scales(codes: torch.Tensor) -> torch.Tensor:
    """Round real-valued codes, as training gives them, to the nearest that can be stored: any shape -> uint8."""
    return codes.round().clamp(0, 255).to(torch.uint8)


def encode_scales(rms: torch.Tensor) -> torch.Tensor:
    """Code each row's root mean square by the scale that is nearest in the logarithm.

    Args:
        rms: Root mean square of each row, (n,), not negative.

    Returns:
        Codes, (n,) uint8. Beyond the range it is the nearest end; for a row of zeros 192, a scale of 1.
    """
    values = rms.detach().double().cpu()
    codes = (_PER_OCTAVE * torch.log2(values.clamp(min=2.0**-40))).round().add(ONE).clamp(0, 255)
    return torch.where(values > 0, codes, torch.full_like(codes, ONE)).to(torch.uint8)
