"""Fake quantisation of weights that train: per tensor, symmetric, the gradient straight through (arXiv 1712.05877)."""

import torch
from torch import nn
from torch.nn.utils import parametrize


class FakeQuantised(nn.Module):
    """A weight rounded to 2^q - 1 levels, symmetric about zero, up to its largest magnitude; any shape, float32.

    The gradient passes straight through the rounding. Levels are evenly spaced, and zero is one of them.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.top = 2 ** (bits - 1) - 1

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Round a weight of any shape, float32."""
        # A tensor of zeros has no largest magnitude to take the step from.
        step = (weight.detach().abs().amax() / self.top).clamp_min(torch.finfo(torch.float32).tiny)
        rounded: torch.Tensor = weight + ((weight / step).round() * step - weight).detach()
        return rounded


def fake_quantise(model: nn.Module, bits: int) -> None:
    """Let the network compute with weights of two or more dimensions rounded to ``bits``; norms and biases stay."""
    for name, weight in list(model.named_parameters(remove_duplicate=False)):
        if weight.ndim > 1:
            path, _, attribute = name.rpartition(".")
            parametrize.register_parametrization(model.get_submodule(path), attribute, FakeQuantised(bits))
