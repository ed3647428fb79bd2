"""Scales of rows: one byte each, an eighth of an octave apart (docs/format.md)."""

import numpy as np
import torch

ONE = 192
"""The code of 1.0."""
_PER_OCTAVE = 8
OCTAVES_A_STEP = 1 / _PER_OCTAVE
# 2^(j / 8) as multiples of 2^-23: the nearest float32 numbers, written down so that no library's pow decides them.
_MANTISSAS = (0x800000, 0x8B95C2, 0x9837F0, 0xA5FED7, 0xB504F3, 0xC5672A, 0xD744FD, 0xEAC0C7)


def _table() -> torch.Tensor:
    octave, step = np.divmod(np.arange(256) - ONE, _PER_OCTAVE)
    return torch.from_numpy(np.ldexp(np.array(_MANTISSAS, dtype=np.float64)[step], octave - 23).astype(np.float32))


_VALUES = _table()


def scale_values(codes: torch.Tensor) -> torch.Tensor:
    """Codes e, uint8 of any shape -> 2^((e - 192) / 8) as float32, 2^-24 to 2^7.875, on the codes' device."""
    return _VALUES.to(codes.device)[codes.long()]


def round_scales(codes: torch.Tensor) -> torch.Tensor:
    """Codes that are learnt, float of any shape -> the nearest that can be stored, uint8."""
    return codes.round().clamp(0, 255).to(torch.uint8)


def encode_scales(rms: torch.Tensor) -> torch.Tensor:
    """The nearest code of each row's root mean square, nearest in the logarithm: (n,) >= 0 -> (n,) uint8.

    What lies beyond the range takes its end; a row of zeros takes 192, a scale of 1.
    """
    values = rms.detach().double().cpu()
    codes = (_PER_OCTAVE * torch.log2(values.clamp(min=2.0**-40))).round().add(ONE).clamp(0, 255)
    return torch.where(values > 0, codes, torch.full_like(codes, ONE)).to(torch.uint8)
