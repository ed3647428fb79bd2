"""Binarised networks: latent float weights that a network computes with the signs of."""

import timm
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class ScaledSign(nn.Module):
    """The binarised weight of a latent one: its sign (1 where w > 0, else -1: zero is a 0 bit) times a scale.

    The scale is the mean of |w| over each output channel (XNOR-Net, arXiv 1603.05279): a BatchNorm that follows takes
    it out again, but the linear layer has none. Backward is the identity. Clipping it to |w| <= 1 (BinaryConnect) would
    change next to nothing: latent weights start around 0.1, from the network's own initialiser, and hardly one of them
    passes 1 in these runs.
    """

    def forward(self, weight: Tensor) -> Tensor:
        """(out, ...) -> (out, ...) with two values per output channel."""
        scale = weight.abs().mean(dim=tuple(range(1, weight.dim())), keepdim=True)
        # The difference is zero exactly, and carries the gradient; weight + (binary - weight) would round.
        return torch.where(weight > 0, scale, -scale).detach() + (weight - weight.detach())


def build(architecture: str, weights: str, *, seed: int) -> nn.Module:
    """The network as its initialiser leaves it; with "binary", every convolution and linear layer is binarised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(architecture)
    if weights == "binary":
        for module in list(model.modules()):
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                parametrize.register_parametrization(module, "weight", ScaledSign())
    return model.to(memory_format=torch.channels_last)


def latent_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict under the plain names; a binarised layer gives its latent weight, whose signs are its bits."""
    state = model.state_dict()
    return {name.replace("parametrizations.weight.original", "weight"): t.contiguous() for name, t in state.items()}
