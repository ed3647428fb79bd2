"""Second moments of what reaches each layer, in one network or between two.

An error E of a weight W (rows, columns) changes the network's outputs by about sum_o g_o E_o H E_o^T, with H = E[x x^T]
of the layer's inputs (Hassibi and Stork 1993; GPTQ, arXiv 2210.17323) and g_o from squared gradients of the outputs.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from momos_compress.calibration.sampling import Pass, Sampling, Watch
from momos_compress.calibration.store import MatrixStore
from momos_compress.errors import MomosError
from momos_compress.networks.layers import LayerWeight

CENTRED = 0.9
"""Share of the inputs' mean that is taken off where a repair makes good what it does: no repair is exact."""


@dataclass(frozen=True)
class InputMoments:
    """What reaches a network's layers, by the weight's name.

    Attributes:
        moments: Second moments (groups, columns, columns) a sample.
        energies: Mean squared norms of each group's inputs (groups,) a sample; about zero, unlike the moments.
        silent: Weights whose layer never ran.
        samples: Samples seen.
        products: Multiplications that one sample takes in these layers.
    """

    moments: MatrixStore
    energies: dict[str, torch.Tensor]
    silent: tuple[str, ...]
    samples: int
    products: int


@dataclass(frozen=True)
class InputShift:
    """What reaches a compressed network's layers, x', against what reaches the original's, x.

    Attributes:
        moments: E[x' x'^T], (groups, columns, columns) a sample, by the weight's name.
        shifts: E[(x - x') x'^T], of the same shape.
    """

    moments: MatrixStore
    shifts: MatrixStore


class _Products:
    """Sums over places of left^T right, and of both sides' means where these are taken off."""

    def __init__(self, sampling: Sampling) -> None:
        self._centred = sampling.centred
        self._sums = MatrixStore(sampling.directory)
        self._left: dict[str, torch.Tensor] = {}
        self._right: dict[str, torch.Tensor] = {}
        self._places: dict[str, int] = {}

    def add(self, name: str, left: torch.Tensor, right: torch.Tensor, places: int) -> None:
        """Add vectors (groups, m, columns) of each side, which stand for so many places."""
        self._sums.add(name, left.transpose(1, 2) @ right * (places / right.shape[1]))
        if name in self._centred:
            self._left[name] = self._left.get(name, 0) + left.mean(dim=1) * places
            self._right[name] = self._right.get(name, 0) + right.mean(dim=1) * places
            self._places[name] = self._places.get(name, 0) + places

    def traces(self, samples: int) -> dict[str, torch.Tensor]:
        """Sums of each matrix's diagonal (groups,) a sample, about zero."""
        return {name: self._sums[name].diagonal(dim1=1, dim2=2).sum(dim=1) / samples for name in self._sums.names()}

    def finish(self, samples: int) -> MatrixStore:
        """The matrices a sample, about the mean as far as ``CENTRED`` where they are centred."""
        for name in self._sums.names():
            if name in self._centred:
                means = self._left[name][:, :, None] * self._right[name][:, None, :]
                self._sums.add(name, -CENTRED * (means / max(self._places[name], 1)))
            self._sums[name] = self._sums[name] / samples
        return self._sums


def collect_moments(model: nn.Module, layers: Sequence[LayerWeight], sampling: Sampling) -> InputMoments:
    """Second moments of what reaches each layer.

    Args:
        model: The network, on the sampling's device.
        layers: Weights; embeddings and weights without a layer have no moments.
        sampling: The inputs.

    Raises:
        MomosError: The network fails on the inputs, or what reaches a layer is not finite.
    """
    run, sums = Pass(sampling), _Products(sampling)
    generator = torch.Generator().manual_seed(sampling.seed)
    ran: set[str] = set()
    products = 0

    def watch(layer: LayerWeight) -> Watch:
        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            nonlocal products
            ran.add(layer.parameter)
            if layer.kind == "embedding":
                return
            vectors, places = run.vectors(layer, module, inputs, generator)
            sums.add(layer.parameter, vectors, vectors, places)
            products += places * vectors.shape[2] * (layer.layout.rows or 1)

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
    return InputMoments(moments, energies, silent, run.seen, products // max(run.seen, 1))


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
    run, moments, shifts = Pass(sampling), _Products(sampling), _Products(sampling)
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
            moments.add(layer.parameter, here, here, places)
            shifts.add(layer.parameter, there - here, here, places)

        return see

    named = [(layer.module, layer) for layer in layers if layer.module is not None and layer.kind != "embedding"]
    run.run(
        (original, [(name, remember(layer)) for name, layer in named]),
        (compressed, [(name, compare(layer)) for name, layer in named]),
        begin=before.clear,
    )
    return InputShift(moments.finish(run.seen), shifts.finish(run.seen))
