"""One weight as motifs[mosaic] times the scales of its rows."""

import math
from typing import Any

import torch
from torch import nn

from momos_compress.modules.codebook import Codebook
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import OCTAVES_A_STEP, round_scales, scale_values


class MosaicWeight(nn.Module):
    """A weight as its mosaic gives it; torch calls it with the codes of its rows' scales, which learn.

    Attributes:
        indices: The motif of each block, (blocks,) int32, fixed.
        codes: The codes that it starts from, (rows,) float32; empty where rows have no scales.
        layout: How the weight is cut.
        shape: The weight's shape.
    """

    def __init__(
        self, codebook: Codebook, indices: torch.Tensor, codes: torch.Tensor, layout: Layout, shape: tuple[int, ...]
    ) -> None:
        super().__init__()
        # Not a submodule: each weight would hold the motifs under a name of its own.
        self._codebook = (codebook,)
        self.layout, self.shape = layout, shape
        self.register_buffer("indices", indices.int(), persistent=False)
        self.codes = codes.detach().float()

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """The weight, float32, from the codes of its rows' scales."""
        blocks = _Assembled.apply(self._codebook[0](), codes, self.get_buffer("indices"))
        return self.layout.join(blocks, self.shape)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The codes, which take the place of the dense weight."""
        return self.codes.to(weight.device)


class _Assembled(torch.autograd.Function):
    """Blocks (n, s) times their rows' scales, of motifs (k, s), codes (rows,) or (0,), and indices (n,).

    A motif's gradient is the sum over its blocks. No copy of the weight is kept: blocks are gathered again on the way
    back.
    """

    @staticmethod
    def forward(ctx: Any, motifs: torch.Tensor, codes: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(motifs, codes, indices)
        blocks = motifs.index_select(0, indices)
        if len(codes):
            blocks.view(len(codes), -1).mul_(scale_values(round_scales(codes))[:, None])
        return blocks

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        motifs, codes, indices = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_motifs = of_codes = None
        if len(codes):
            scales = scale_values(round_scales(codes))[:, None]
            rows = gradient.view(len(codes), -1)
            if ctx.needs_input_grad[1]:
                decoded = motifs.index_select(0, indices).view(len(codes), -1)
                of_codes = (rows * decoded).sum(dim=1) * scales[:, 0] * (math.log(2) * OCTAVES_A_STEP)
            gradient = (rows * scales).view(-1, motifs.shape[1])
        if ctx.needs_input_grad[0]:
            # Long indices: torch adds rows by them several times as fast as by int32.
            of_motifs = torch.zeros_like(motifs).index_add_(0, indices.long(), gradient)
        return of_motifs, of_codes, None
