"""What a forward pass takes: multiplications, and samples that fit into memory at once."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs
from momos_compress.networks.forward import forward

BATCH_VALUES = 2**25
"""Values of one layer's outputs that a forward pass may hold: 128 MiB."""
TRAINED_VALUES = 2**28
"""Values of all layers' outputs that a backward pass may hold: 1 GiB, or less where layers work in place."""


def samples_at_once(model: nn.Module, inputs: Inputs, *, trained: bool = False) -> int:
    """How many samples a pass may take together, at least 1.

    Args:
        model: The network, which is run once.
        inputs: A few samples, on its device.
        trained: Whether a backward pass follows, for which every layer's outputs are held: all of them count against
            ``TRAINED_VALUES`` instead of the largest against ``BATCH_VALUES``.

    Raises:
        MomosError: The network fails on the inputs.
    """
    largest, every = 1, 0

    def see(module: nn.Module, args: Any, out: Any) -> None:
        nonlocal largest, every
        if isinstance(out, torch.Tensor):
            largest = max(largest, out.numel())
            every += 0 if any(module.children()) else out.numel()

    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_hook(see).remove)
        with torch.inference_mode():
            length = len(forward(model, inputs))
    return max(1, TRAINED_VALUES * length // max(1, every) if trained else BATCH_VALUES * length // largest)


def products_of(model: nn.Module, inputs: Inputs) -> int:
    """Multiplications that one sample takes in linear layers and convolutions; other layers count nothing.

    Args:
        model: The network, which is run once.
        inputs: One sample, (1, ...), on its device.

    Raises:
        MomosError: The network fails on the sample.
    """
    total = 0

    def see(module: nn.Module, args: Any, out: Any) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += out.numel() // weight.shape[0] * weight.numel()

    with ExitStack() as stack, torch.inference_mode():
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                stack.callback(module.register_forward_hook(see).remove)
        forward(model, inputs)
    return total
