"""What a forward pass takes: multiplications, and samples that fit into memory at once."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs
from momos_compress.networks.forward import forward

BATCH_VALUES = 2**25
"""Values of a layer's inputs held at a time: 128 MiB."""


TRAINED_VALUES = 2**28
"""Values of all layers' outputs held for a backward pass: 1 GiB, less where layers work in place."""


def samples_at_once(model: nn.Module, inputs: Inputs, *, trained: bool = False) -> int:
    """How many samples fit ``BATCH_VALUES`` in the network's largest layer; inputs: a few samples.

    trained: how many fit ``TRAINED_VALUES`` in all its layers, as a backward pass wants them.
    """
    largest, every, length = 1, 0, 1

    def see(module: nn.Module, args: Any, out: Any) -> None:
        nonlocal largest, every
        if isinstance(out, torch.Tensor):
            largest = max(largest, out.numel())
            every += 0 if any(module.children()) else out.numel()

    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_hook(see).remove)
        with torch.inference_mode():
            out = forward(model, inputs)
        length = len(out)
    return max(1, TRAINED_VALUES * length // max(1, every) if trained else BATCH_VALUES * length // largest)


def products_of(model: nn.Module, inputs: Inputs) -> int:
    """Multiplications of the layers of known kinds for one sample; inputs: (1, ...)."""
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
