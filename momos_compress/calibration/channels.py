"""Batch norms of a network, and means and variances of channels."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from momos_compress.data.batches import real_tokens


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norms that keep running statistics, by module name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            found[name] = module
    return found


def channel_moments(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance of each channel of (n, channels, ...): two of (channels,)."""
    variance, mean = torch.var_mean(inputs, dim=(0, *range(2, inputs.ndim)), correction=0)
    return mean, variance


def output_mean(module: nn.Module, out: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of each output of a layer over samples and places.

    Args:
        module: The layer.
        out: What it gives: (n, outputs, ...) of a convolution, else (..., outputs).
        mask: Which tokens (n, t) of ``out`` (n, t, outputs) are real; None where all are.

    Returns:
        (outputs,).
    """
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return channel_moments(out)[0]
    out = real_tokens(out, mask)
    return out.reshape(-1, out.shape[-1]).mean(dim=0)


def shaped_as_channels(module: nn.Module, out: torch.Tensor) -> tuple[int, ...]:
    """The shape in which one value for each output of the layer broadcasts against ``out``."""
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return (1, -1, *(1,) * (out.ndim - 2))
    return (-1,)
