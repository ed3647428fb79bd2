"""Second moments of what reaches each layer, in one network or between two.

An error E of a weight W (rows, columns) changes the network's outputs by about sum_o g_o E_o H E_o^T, with H = E[x x^T]
of the layer's inputs (Hassibi and Stork 1993; GPTQ, arXiv 2210.17323) and g_o from squared gradients of the outputs.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from momos_compress.calibration.products import Products
from momos_compress.calibration.sampling import Pass, Sampling, Watch
from momos_compress.calibration.store import MatrixStore
from momos_compress.errors import MomosError
from momos_compress.networks.layers import LayerWeight

WORTH_OF_A_SAMPLE = 16
"""Independent vectors that one sample's are worth at most: places of an image and tokens of a text are alike."""


@dataclass(frozen=True)
class InputMoments:
    """What reaches a network's layers, by the weight's name.

    Attributes:
        moments: Second moments (groups, columns, columns) a sample.
        energies: Mean squared norms of each group's inputs (groups,) a sample; about zero, unlike the moments.
        silent: Weights whose layer never ran.
        samples: Samples seen.
        vectors: Vectors that each layer's moments are taken from.
    """

    moments: MatrixStore
    energies: dict[str, torch.Tensor]
    silent: tuple[str, ...]
    samples: int
    vectors: dict[str, int]

    def worth(self, name: str) -> int:
        """How many independent vectors a layer's were worth."""
        return independent_vectors(self.vectors[name], self.samples)


@dataclass(frozen=True)
class InputShift:
    """What reaches a compressed network's layers, x', against what reaches the original's, x.

    Attributes:
        moments: E[x' x'^T], (groups, columns, columns) a sample, by the weight's name.
        shifts: E[(x - x') x'^T], of the same shape, in two parts that add up, each from every other batch: from two one
            sees how sure they are.
    """

    moments: MatrixStore
    shifts: tuple[MatrixStore, MatrixStore]


def independent_vectors(vectors: int, samples: int) -> int:
    """How many independent vectors those of so many samples are worth: those of one sample are alike."""
    return max(2, min(vectors, WORTH_OF_A_SAMPLE * samples))


def collect_moments(model: nn.Module, layers: Sequence[LayerWeight], sampling: Sampling) -> InputMoments:
    """Second moments of what reaches each layer.

    Args:
        model: The network, on the sampling's device.
        layers: Weights; embeddings and weights without a layer have no moments.
        sampling: The inputs.

    Raises:
        MomosError: The network fails on the inputs, or what reaches a layer is not finite.
    """
    run, sums = Pass(sampling), Products(sampling)
    generator = torch.Generator().manual_seed(sampling.seed)
    ran: set[str] = set()

    def watch(layer: LayerWeight) -> Watch:
        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            ran.add(layer.parameter)
            if layer.kind == "embedding":
                return
            vectors, places = run.vectors(layer, module, inputs, generator)
            sums.add(layer.parameter, vectors, None, places)

        return see

    run.run((model, [(layer.module, watch(layer)) for layer in layers if layer.module is not None]))
    energies, moments = sums.traces(run.seen), sums.finish(run.seen)
    for layer in layers:
        if layer.parameter in moments and not bool(torch.isfinite(moments[layer.parameter]).all()):
            raise MomosError(
                f"{layer.parameter}: what reaches its layer is not finite on the calibration inputs; give others, or "
                "use `calibrate='none'`"
            )
    silent = tuple(layer.parameter for layer in layers if layer.module is not None and layer.parameter not in ran)
    return InputMoments(moments, energies, silent, run.seen, sums.vectors)


def collect_shift(
    original: nn.Module, compressed: nn.Module, layers: Sequence[LayerWeight], sampling: Sampling
) -> InputShift:
    """How what reaches each layer has moved by compression.

    Args:
        original: The network before compression, on the sampling's device.
        compressed: The same network with other weights.
        layers: Weights; embeddings and weights without a layer have no shift.
        sampling: The inputs, of which both networks see the same places.

    Raises:
        MomosError: A network fails on the inputs.
    """
    run, moments, shifts = Pass(sampling), Products(sampling), (Products(sampling), Products(sampling))
    # Of the current batch, in the order of the runs, for a layer may run more than once.
    before: dict[str, deque[torch.Tensor]] = defaultdict(deque)

    def vectors(layer: LayerWeight, module: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, int]:
        # One generator a call, so that both networks' places are the same.
        return run.vectors(layer, module, inputs, torch.Generator().manual_seed(sampling.seed + run.number))

    def remember(layer: LayerWeight) -> Watch:
        return lambda module, inputs: before[layer.parameter].append(vectors(layer, module, inputs)[0])

    def compare(layer: LayerWeight) -> Watch:
        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            here, places = vectors(layer, module, inputs)
            there = before[layer.parameter].popleft() if before[layer.parameter] else None
            if there is None or there.shape != here.shape:  # such as an expert that was chosen for other tokens
                return
            moments.add(layer.parameter, here, None, places)
            shifts[run.number % 2].add(layer.parameter, there - here, here, places)

        return see

    named = [(layer.module, layer) for layer in layers if layer.module is not None and layer.kind != "embedding"]
    run.run(
        (original, [(name, remember(layer)) for name, layer in named]),
        (compressed, [(name, compare(layer)) for name, layer in named]),
        begin=before.clear,
    )
    halves = shifts[0].finish(run.seen), shifts[1].finish(run.seen)
    return InputShift(moments.finish(run.seen), halves)
