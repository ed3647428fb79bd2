"""One weight as motifs[mosaic] times the scales of its rows and columns."""

import math
from typing import Any

import torch
from torch import nn

from momos_compress.modules.codebook import Codebook
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import OCTAVES_A_STEP, apply_scales, round_scales, scale_values


class MosaicWeight(nn.Module):
    """A weight as its mosaic gives it; torch calls it with the codes of its rows' scales, which learn.

    Attributes:
        indices: The motif of each block, (blocks,) int32, fixed.
        codes: The codes that it starts from, (rows,) float32; empty where rows have no scales.
        columns: The codes of its columns' scales, (columns,) uint8, fixed; empty where columns have none.
        layout: How the weight is cut.
        shape: The weight's shape.
    """

    def __init__(
        self,
        codebook: Codebook,
        indices: torch.Tensor,
        codes: torch.Tensor,
        columns: torch.Tensor,
        layout: Layout,
        shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        # Not a submodule: each weight would hold the motifs under a name of its own.
        self._codebook = (codebook,)
        self.layout, self.shape = layout, shape
        self.register_buffer("indices", indices.int(), persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self.codes = codes.detach().float()

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """The weight, float32, from the codes of its rows' scales."""
        buffers = self.get_buffer("indices"), self.get_buffer("columns")
        blocks = _Assembled.apply(self._codebook[0](), codes, *buffers)
        return self.layout.join(blocks, self.shape)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The codes, which take the place of the dense weight."""
        return self.codes.to(weight.device)


class _Assembled(torch.autograd.Function):
    """Blocks (n, s) times their rows' scales and their columns'.

    It takes motifs (k, s), codes (rows,) or (0,), indices (n,), and codes of columns (columns,) or (0,).

    A motif's gradient is the sum over its blocks. No copy of the weight is kept: blocks are gathered again on the way
    back.
    """

    @staticmethod
    def forward(
        ctx: Any, motifs: torch.Tensor, codes: torch.Tensor, indices: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(motifs, codes, indices, columns)
        blocks = motifs.index_select(0, indices)
        apply_scales(blocks, round_scales(codes), columns)
        return blocks

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        motifs, codes, indices, columns = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_motifs = of_codes = None
        if len(codes):
            scales = scale_values(round_scales(codes))[:, None]
            rows = gradient.view(len(codes), -1)
            if len(columns):
                rows = rows.clone()  # torch's own, which must stay as it is; in padding it is zero
                rows[:, : len(columns)].mul_(scale_values(columns))
            if ctx.needs_input_grad[1]:
                decoded = motifs.index_select(0, indices).view(len(codes), -1)
                of_codes = (rows * decoded).sum(dim=1) * scales[:, 0] * (math.log(2) * OCTAVES_A_STEP)
            gradient = (rows * scales).view(-1, motifs.shape[1])
        if ctx.needs_input_grad[0]:
            # Long indices: torch adds rows by them several times as fast as by int32.
            of_motifs = torch.zeros_like(motifs).index_add_(0, indices.long(), gradient)
        return of_motifs, of_codes, None, None
