"""Norms and biases beside the mosaic in a byte a value: value = low + step * code (docs/format.md, "affine8").

low and step are bfloat16 numbers, so step * code is exact in float32 and every decoder finds the same values.
"""

import torch

from momos_compress.errors import FormatError

ENCODABLE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""Dtypes of vectors that may be stored in a byte a value."""
HEADER_BYTES = 4
"""Bytes of low and step, which stand before the codes."""
MIN_VALUES = 8
"""Fewest values of a vector that is stored in a byte a value."""
TOLERANCE = 0.02
"""Largest RMS error over the median magnitude; motifs cost the weights beside such a vector far more."""
POSITIVE_TOLERANCE = 0.2
"""Largest relative error of a positive value where none is negative, since a variance must not come near zero."""
_LEVELS = 255


def encode(tensor: torch.Tensor) -> torch.Tensor | None:
    """Encode a vector.

    Args:
        tensor: Floating-point values, (n,).

    Returns:
        low, step and codes, (4 + n,) uint8; None for another shape, for values that are not finite, and where the error
        would be beyond ``TOLERANCE`` or ``POSITIVE_TOLERANCE``.
    """
    values = tensor.detach().float().cpu()
    if values.ndim != 1 or len(values) < MIN_VALUES or not bool(torch.isfinite(values).all()):
        return None
    smallest, largest = values.min(), values.max()
    low = _rounded(smallest, up=False)
    step = _rounded((largest - low.float()) / _LEVELS, up=True)
    codes = torch.zeros(len(values), dtype=torch.uint8)
    if float(step) > 0:
        codes = ((values - low.float()) / step.float()).round().clamp(0, _LEVELS).to(torch.uint8)
    out = torch.cat([torch.stack([low, step]).view(torch.uint8), codes])
    error = decode(out) - values
    if not bool(torch.isfinite(error).all()):
        return None
    if float(error.double().square().mean().sqrt()) > TOLERANCE * float(values.abs().median()):
        return None
    positive = values > 0  # a channel that is dead has a variance of 0, and must not open the door to all others
    if float(smallest) >= 0 and bool((error.abs()[positive] > POSITIVE_TOLERANCE * values[positive]).any()):
        return None
    return out


def decode(stored: torch.Tensor) -> torch.Tensor:
    """Decode a vector.

    Args:
        stored: low, step and codes, (4 + n,) uint8.

    Returns:
        The values, (n,) float32.

    Raises:
        FormatError: low or step is not finite.
    """
    low, step = stored[:HEADER_BYTES].clone().view(torch.bfloat16).float()
    if not bool(torch.isfinite(low) & torch.isfinite(step)):
        raise FormatError("the range of its values is not finite")
    values: torch.Tensor = low + step * stored[HEADER_BYTES:].float()
    return values


def _rounded(value: torch.Tensor, *, up: bool) -> torch.Tensor:
    """Round a float32 to the next bfloat16 that is not below it (``up``), or not above it."""
    bits = value.to(torch.bfloat16)
    if (bits.float() < value) if up else (bits.float() > value):
        whole = bits.view(torch.int16)
        away = (float(bits) >= 0) == up  # in int16, a number grows away from zero
        whole = whole + (1 if away else -1)
        if float(bits) == 0:
            return torch.tensor(2.0**-126 if up else -(2.0**-126), dtype=torch.bfloat16)
        bits = whole.view(torch.bfloat16)
    return bits
