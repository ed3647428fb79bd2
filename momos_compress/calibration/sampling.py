"""A pass over calibration inputs, and the vectors that it draws of what reaches each layer."""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs, attention_mask, batch_length, real_tokens, to_device
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import LayerWeight, columns

LEAST_VECTORS = 2**14
"""Vectors that a layer's second moments are taken from in any case, where its inputs give so many."""
VECTORS_PER_COLUMN = 64
"""Vectors for each of their values up to ``VECTORS``: a rounding by their moments has 0.5 % more error than by those of
all places, on the 3x3 convolutions of ResNet-20 with 512 images."""
GROUPED_VECTORS = 2**11
"""Vectors of each group of a layer with several groups, whose columns are few and whose vectors are many in all: 0.7 %
more error on the depthwise layers of EfficientNet-Lite0 than by 16,384."""
VECTORS = 2**16
"""Vectors of a layer beyond which its columns alone count, at ``LEAST_PER_COLUMN``."""
LEAST_PER_COLUMN = 16
"""Vectors for each of their values that are taken however long they are."""
PAIRED_VECTORS = 2**15
"""Vectors of a layer where two networks are compared: one's are held, of all layers, for a batch."""

Watch = Callable[[nn.Module, torch.Tensor], None]
"""Called with a layer and what reaches it, before the layer runs."""


@dataclass(frozen=True)
class Sampling:
    """What a pass over calibration inputs sees.

    Attributes:
        batches: The inputs, on the CPU.
        samples: How many samples the batches hold in all.
        device: Where the networks are.
        seed: Of the draw of vectors.
        vectors: How many vectors a layer's matrices are taken from at most, about; long vectors are more.
        centred: Weights whose outputs' means are repaired, so that their moments are taken about the mean.
        directory: Where temporary files lie; None for the system's own place.
        progress: Told the samples done since the last call.
    """

    batches: Iterable[Inputs]
    samples: int
    device: str
    seed: int
    vectors: int = VECTORS
    centred: Container[str] = ()
    directory: Path | None = None
    progress: Callable[[int], None] = lambda done: None


class Pass:
    """One run over the batches of a sampling, and where it stands.

    Attributes:
        sampling: What is run over.
        mask: Which tokens of the current batch are real (n, t), where it says so.
        number: Batches done.
        seen: Samples done.
    """

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self.mask: torch.Tensor | None = None
        self.number = 0
        self.seen = 0

    def run(
        self, *networks: tuple[nn.Module, Sequence[tuple[str, Watch]]], begin: Callable[[], None] = lambda: None
    ) -> None:
        """Run every network on every batch, one network after the other.

        Args:
            networks: Networks, each with names of layers and what watches them.
            begin: Called before each batch.
        """
        with torch.inference_mode(), ExitStack() as stack:
            for network, watches in networks:
                stack.enter_context(watched(network, watches))
            for batch in self.sampling.batches:
                begin()
                self.mask, inputs = attention_mask(batch), to_device(batch, self.sampling.device)
                for network, _ in networks:
                    forward(network, inputs)
                self.seen, self.number = self.seen + batch_length(batch), self.number + 1
                self.sampling.progress(batch_length(batch))

    def vectors(
        self, layer: LayerWeight, module: nn.Module, inputs: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, int]:
        """Draw from what a layer's columns meet in the current batch.

        Args:
            layer: The layer's weight.
            module: The layer.
            inputs: What reaches it.
            generator: Draws the places.

        Returns:
            Vectors (groups, m, columns), and the number of places that they stand for.
        """
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        width = weight.numel() // (layer.layout.rows or 1)
        wanted = wanted_vectors(width, layer.groups, self.sampling.vectors)
        keep = -(-wanted // max(self.sampling.samples, 1))
        real = inputs if layer.kind == "convolution" else real_tokens(inputs, self.mask)
        return columns(module, real.float(), len(inputs), keep, generator)


def wanted_vectors(width: int, groups: int, most: int = VECTORS) -> int:
    """How many vectors of so many values each group's matrix is taken from; above ``most`` where they are long."""
    least = LEAST_VECTORS if groups == 1 else GROUPED_VECTORS
    return max(min(most, max(least, VECTORS_PER_COLUMN * width)), LEAST_PER_COLUMN * width)


@contextmanager
def watched(model: nn.Module, watches: Sequence[tuple[str, Watch]]) -> Iterator[None]:
    """Call what watches a layer with the layer and its first input, before the layer runs."""
    with ExitStack() as stack:
        for name, watch in watches:

            def hook(module: nn.Module, args: Any, kwargs: Any, watch: Watch = watch) -> None:
                watch(module, args[0] if args else next(iter(kwargs.values())))

            handle = model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield
