"""The motifs as a module: what learns, and what is computed with."""

from typing import Any

import torch
from torch import nn

from momos_compress.mosaic.codebook import decode_codebook, round_codebook


class Codebook(nn.Module):
    """Motifs that learn; calling it gives them as they will be decoded.

    Gradients pass straight through the rounding (Bengio et al., arXiv 1308.3432). An all-zero motif stays all zero.

    Attributes:
        motifs: (k, s) float32, a parameter.
        dtype: What they are stored in, a name of ``CODEBOOK_DTYPES``.
    """

    def __init__(self, motifs: torch.Tensor, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype
        self.motifs = nn.Parameter(motifs.detach().clone().float())
        self.register_buffer("_kept", (motifs != 0).any(dim=1, keepdim=True).float(), persistent=False)

    def forward(self) -> torch.Tensor:
        """The motifs (k, s) float32, rounded to what is stored."""
        rounded: torch.Tensor = _Rounded.apply(self.values(), self.dtype)
        return rounded

    def values(self) -> torch.Tensor:
        """The motifs (k, s) float32 before rounding, with the zero motif at zero."""
        return self.motifs * self.get_buffer("_kept")


class _Rounded(torch.autograd.Function):
    """Motifs (k, s) as they will be decoded; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, motifs: torch.Tensor, dtype: str) -> torch.Tensor:
        return decode_codebook(*round_codebook(motifs, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None
