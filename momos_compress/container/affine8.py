"""Vectors beside the mosaic, norms and biases, in a byte a value: value = low + step * code (docs/format.md).

low and step are bfloat16, so step * code is exact in float32 and every decoder finds the same numbers.
"""

import torch

from momos_compress.errors import FormatError

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
HEADER_BYTES = 4
MIN_VALUES = 8
TOLERANCE = 0.02
"""RMS error that a byte may cost, over the median magnitude: far below what motifs cost the weights beside it."""
POSITIVE_TOLERANCE = 0.2
"""Relative error of any one value among positive ones: a variance must not come near zero."""
_LEVELS = 255


def encode(tensor: torch.Tensor) -> torch.Tensor | None:
    """(n,) floating-point values -> (4 + n,) uint8; None where a byte a value is not exact enough."""
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
    if float(smallest) > 0 and float((error.abs() / values).max()) > POSITIVE_TOLERANCE:
        return None
    return out


def decode(stored: torch.Tensor) -> torch.Tensor:
    """(4 + n,) uint8 -> (n,) float32; FormatError where low or step is no number."""
    low, step = stored[:HEADER_BYTES].clone().view(torch.bfloat16).float()
    if not bool(torch.isfinite(low) & torch.isfinite(step)):
        raise FormatError("the range of its values is not finite")
    values: torch.Tensor = low + step * stored[HEADER_BYTES:].float()
    return values


def _rounded(value: torch.Tensor, *, up: bool) -> torch.Tensor:
    """The nearest bfloat16 not below, or not above, a float32."""
    bits = value.to(torch.bfloat16)
    if (bits.float() < value) if up else (bits.float() > value):
        whole = bits.view(torch.int16)
        away = (float(bits) >= 0) == up  # from zero
        whole = whole + (1 if away else -1)
        if float(bits) == 0:
            return torch.tensor(2.0**-126 if up else -(2.0**-126), dtype=torch.bfloat16)
        bits = whole.view(torch.bfloat16)
    return bits
