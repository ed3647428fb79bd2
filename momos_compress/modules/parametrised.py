"""Weights as motifs[mosaic] times scales, as torch parametrisations: a motif's gradient is the sum over its blocks.

What a network computes with is at every step exactly what its file would decode to: motifs and scales are rounded to
what is stored on the way in, and gradients pass straight through the rounding (Bengio et al. 2013).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.codebook import decode_codebook, round_codebook
from momos_compress.mosaic.scales import OCTAVES_A_STEP, round_scales, scale_values
from momos_compress.networks.layers import own_names


class _Rounded(torch.autograd.Function):
    """Motifs (k, s) as they will be decoded; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, motifs: torch.Tensor, dtype: str) -> torch.Tensor:
        return decode_codebook(*round_codebook(motifs, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


class Codebook(nn.Module):
    """The motifs that learn, (k, s) float32; calling it gives them as they will be decoded.

    dtype: what they are stored in, a name of CODEBOOK_DTYPES. The all-zero motif, where there is one, stays all zero.
    """

    def __init__(self, motifs: torch.Tensor, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype
        self.motifs = nn.Parameter(motifs.detach().clone().float())
        self.register_buffer("_kept", (motifs != 0).any(dim=1, keepdim=True).float(), persistent=False)

    def forward(self) -> torch.Tensor:
        """(k, s) float32, rounded to what is stored."""
        rounded: torch.Tensor = _Rounded.apply(self.values(), self.dtype)
        return rounded

    def values(self) -> torch.Tensor:
        """(k, s) float32 before rounding, with the zero motif at zero."""
        return self.motifs * self.get_buffer("_kept")


class _Assembled(torch.autograd.Function):
    """motifs (k, s), codes (rows,) or (0,), indices (n,) -> blocks (n, s) times the scales of their rows.

    Keeps what it is given and no copy of the weight: blocks are gathered again on the way back.
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


class MosaicWeight(nn.Module):
    """A weight as its mosaic gives it: torch calls it with the codes of its rows' scales, which learn.

    indices: (blocks,) int32, fixed. codes: (rows,) of the scales, empty where the tensor has none.
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
        """codes -> the weight, float32."""
        blocks = _Assembled.apply(self._codebook[0](), codes, self.get_buffer("indices"))
        return self.layout.join(blocks, self.shape)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """What takes the place of the dense weight: the codes."""
        return self.codes.to(weight.device)


class MosaicNetwork:
    """A network whose compressed weights are parametrised by one codebook.

    model: the network, changed in place. codes: by the file's name of a tensor, its scales' codes (rows,).
    """

    def __init__(self, model: nn.Module, file: MomosFile) -> None:
        self.model, self.file = model.float(), file
        recipe = file.recipe
        parameters = dict(model.named_parameters(remove_duplicate=False))
        own = own_names(model, recipe.tensors)
        missing = [name for name in recipe.tensors if own.get(name) not in parameters]
        if missing:
            raise MomosError(f"{file.path}: its mosaic does not fit {type(model).__name__}, which has no {missing[0]}")
        device = next(iter(parameters.values())).device
        dtype = "int8" if recipe.codebook_step is not None else str(file.entries["momos.codebook"].torch_dtype)
        self.codebook = Codebook(file.codebook.to(device), dtype.removeprefix("torch."))
        model.momos_codebook = self.codebook  # a submodule, so that it is trained, moved and saved with the network
        self.codes: dict[str, nn.Parameter] = {}
        self._places = {name: own[name] for name in recipe.tensors}
        for name, tensor in recipe.tensors.items():
            weight = parameters[own[name]]
            if tuple(weight.shape) != tensor.shape:
                raise MomosError(
                    f"{file.path}: its mosaic does not fit {type(model).__name__}: {name} is {list(tensor.shape)} "
                    f"there and {list(weight.shape)} in the network"
                )
            mosaic = MosaicWeight(
                self.codebook, file.indices(name), file.scale_codes(name), tensor.layout, tensor.shape
            ).to(device)
            for place in (place for place, other in parameters.items() if other is weight):  # tied: more than one
                self._parametrise(name, place, mosaic)

    def _parametrise(self, name: str, place: str, mosaic: MosaicWeight) -> None:
        path, _, attribute = place.rpartition(".")
        module = self.model.get_submodule(path)
        # unsafe: the codes have neither the weight's shape nor is decoding them a projection of it.
        parametrize.register_parametrization(module, attribute, mosaic, unsafe=True)
        held: Any = module.parametrizations[attribute]  # type: ignore[index]
        if name in self.codes:
            held.original = self.codes[name]
        self.codes[name] = held.original
        self.codes[name].requires_grad_(len(self.codes[name]) > 0)

    def weight(self, name: str) -> torch.Tensor:
        """The compressed weight of this name in the file, as it is decoded now."""
        path, _, attribute = self._places[name].rpartition(".")
        weight: torch.Tensor = getattr(self.model.get_submodule(path), attribute)
        return weight.detach()

    def vectors(self) -> dict[str, nn.Parameter]:
        """Norms, biases and whatever else of at most one dimension lies beside the mosaic, by the network's names."""
        held = {id(self.codebook.motifs), *map(id, self.codes.values())}
        return {name: p for name, p in self.model.named_parameters() if id(p) not in held and p.ndim < 2}

    def stored_codes(self) -> Mapping[str, torch.Tensor]:
        """Codes as they are stored: file's name -> (rows,) uint8."""
        return {name: round_scales(codes.detach()).cpu() for name, codes in self.codes.items() if len(codes)}
