"""Names of dtypes in safetensors files and in recipes."""

import torch

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
}  # fmt: skip
"""Name of a dtype in safetensors files -> torch's dtype."""
SAFETENSORS_NAMES = {dtype: name for name, dtype in DTYPES.items()}
"""torch's dtype -> its name in safetensors files."""
FLOAT_DTYPES = {
    name: getattr(torch, name) for name in ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
}
"""Name of a floating-point dtype in recipes -> torch's dtype."""


def dtype_name(dtype: torch.dtype) -> str:
    """Name of a dtype in recipes: torch.float32 -> "float32"."""
    return str(dtype).removeprefix("torch.")
