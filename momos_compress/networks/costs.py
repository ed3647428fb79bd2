"""What a forward pass takes: multiplications, and samples that fit into memory at once."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs
from momos_compress.networks.forward import forward, token_scores

BATCH_VALUES = 2**25
"""Values of one layer's outputs that a forward pass may hold: 128 MiB."""
INNER_VALUES = 2**24
"""The same where scores of a vocabulary are not the largest: a block of a transformer holds several as large."""
CACHED_VALUES = 2**22
"""Values of one layer's outputs up to which a forward pass on a processor is fastest: they stay in its caches."""
TRAINED_VALUES = 2**26
"""Values of all layers' outputs that a backward pass may hold: 256 MiB, or less where layers work in place."""


@dataclass(frozen=True)
class SampleValues:
    """Values that layers give for one sample.

    Attributes:
        largest: Of the layer that gives most.
        inner: Of the largest but for scores of a vocabulary.
        every: Of all layers together, which a backward pass holds.
        on_cpu: Whether the network runs on a processor.
    """

    largest: int
    inner: int
    every: int
    on_cpu: bool

    @property
    def most(self) -> int:
        """Samples that a forward pass may take together, at least 1."""
        return max(1, BATCH_VALUES // max(1, self.largest))

    @property
    def most_within(self) -> int:
        """Samples that may pass together where a vocabulary is scored for the last token alone, at least 1."""
        return max(1, INNER_VALUES // max(1, self.inner))

    @property
    def fastest(self) -> int:
        """Samples of a batch that takes least time for each, at least 1."""
        return max(1, CACHED_VALUES // max(1, self.largest)) if self.on_cpu else self.most

    @property
    def trained(self) -> int:
        """Samples that a backward pass may take together, at least 1."""
        return max(1, TRAINED_VALUES // max(1, self.every))


def sample_values(model: nn.Module, inputs: Inputs) -> SampleValues:
    """Count the values that a network's layers give for a sample.

    Args:
        model: The network, which is run once.
        inputs: A few samples, on its device.

    Raises:
        MomosError: The network fails on the inputs.
    """
    largest, inner, every, scores = 1, 1, 0, token_scores(model)

    def see(module: nn.Module, args: Any, out: Any) -> None:
        nonlocal largest, inner, every
        if isinstance(out, torch.Tensor):
            largest = max(largest, out.numel())
            inner = inner if module is scores else max(inner, out.numel())
            every += 0 if any(module.children()) else out.numel()

    with ExitStack() as stack:
        for module in model.modules():
            stack.callback(module.register_forward_hook(see).remove)
        with torch.inference_mode():
            out = forward(model, inputs)
    length = len(out)
    return SampleValues(-(-largest // length), -(-inner // length), -(-every // length), out.device.type == "cpu")


def samples_at_once(model: nn.Module, inputs: Inputs) -> int:
    """How many samples a forward pass takes together best; the arguments are those of ``sample_values``."""
    return sample_values(model, inputs).fastest


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
