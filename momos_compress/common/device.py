"""Where a run computes."""

from typing import Literal

import torch

from momos_compress.errors import MomosError


def resolve_device(device: str) -> Literal["cpu", "cuda"]:
    """Turn "auto" into "cuda" where torch sees a GPU, else into "cpu".

    Raises:
        MomosError: if ``device`` is "cuda" and torch sees no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MomosError("torch sees no CUDA device; use `device='cpu'`, or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
