"""What a layer does to its outputs' errors: second moments of its inputs, importance of its outputs.

An error E of a weight W (rows, columns) changes the network's outputs by about sum_o g_o E_o H E_o^T, with H = E[x x^T]
of the layer's inputs (Hassibi and Stork 1993; GPTQ, arXiv 2210.17323) and g_o from squared gradients of the outputs.
"""

import math
import tempfile
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs, attention_mask, batch_length, real_tokens, to_device
from momos_compress.errors import MomosError
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import LayerWeight, columns
from momos_compress.tensors.safetensors_writer import tensor_data

VECTORS_PER_COLUMN = 16
MIN_VECTORS, MIN_VALUES = 2**17, 2**28
"""Input vectors that a layer's second moments are taken from, where its samples give so many: the first number of them,
or as many as have the second number of values, but no fewer than ``VECTORS_PER_COLUMN`` times their length."""
CENTRED = 0.9
"""How much of the inputs' mean is taken off where its part in an output's error is repaired: a repair is not exact."""
PAIRED_VECTORS = 2**15
"""The same where two networks are compared, and one's vectors of all layers are held for a batch."""


class MatrixStore:
    """Named float32 tensors in a temporary file: one at a time is in memory, however many layers there are."""

    def __init__(self, directory: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  it lives as long as the store
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._end = 0

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __setitem__(self, name: str, tensor: torch.Tensor) -> None:
        shape = tuple(tensor.shape)
        if name not in self._places or self._places[name][1] != shape:
            self._places[name] = (self._end, shape)
            self._end += 4 * tensor.numel()
        self._file.seek(self._places[name][0])
        self._file.write(tensor_data(tensor.float()))

    def __getitem__(self, name: str) -> torch.Tensor:
        start, shape = self._places[name]
        self._file.seek(start)
        data = bytearray(self._file.read(4 * math.prod(shape)))
        return torch.frombuffer(data, dtype=torch.float32).reshape(shape)

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Add to what is there, or begin it."""
        self[name] = self[name].to(tensor.device) + tensor if name in self else tensor


class Means:
    """Sums over all places of each layer's vectors (groups, columns), by parameter name."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._places: dict[str, int] = {}

    def add(self, name: str, vectors: torch.Tensor, places: int) -> None:
        """vectors: (groups, m, columns), drawn from so many places."""
        self._sums[name] = self._sums.get(name, 0) + vectors.mean(dim=1) * places
        self._places[name] = self._places.get(name, 0) + places

    def outer(self, name: str, other: "Means") -> torch.Tensor:
        """The places times the product of the two means: (groups, columns, columns)."""
        product = self._sums[name][:, :, None] * other._sums[name][:, None, :]
        return product / max(self._places[name], 1)


@dataclass
class Statistics:
    """By parameter name: second moments (groups, columns, columns) a sample, squared gradients (rows,) a sample.

    energies: by parameter name, mean squared norm of the inputs of each group (groups,), a sample; about zero, unlike
    the moments. samples: how many were seen. silent: parameters whose layer never ran. products: multiplications of
    one sample.
    """

    moments: MatrixStore
    energies: dict[str, torch.Tensor] = field(default_factory=dict)
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)
    samples: int = 0
    silent: tuple[str, ...] = ()
    products: int = 0


@contextmanager
def hooked(model: nn.Module, hooks: Iterable[tuple[str, Callable[[nn.Module, Any], None]]]) -> Iterator[None]:
    """Call each function with its module and the module's first input, before the module runs."""
    with ExitStack() as stack:
        for name, function in hooks:

            def hook(module: nn.Module, args: Any, kwargs: Any, function: Callable[..., None] = function) -> None:
                function(module, args[0] if args else next(iter(kwargs.values())))

            handle = model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def collect_moments(
    model: nn.Module,
    layers: Sequence[LayerWeight],
    batches: Iterable[Inputs],
    samples: int,
    *,
    device: str,
    seed: int,
    centred: Container[str] = (),
    directory: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Statistics:
    """Second moments of each layer's inputs over these batches; what they hold in all is ``samples``.

    centred: parameters whose outputs' means are repaired, so that errors in them cost next to nothing: their moments
    are taken about the mean, as far as ``CENTRED``.
    """
    store, generator = MatrixStore(directory), torch.Generator().manual_seed(seed)
    means, energies = Means(), {}
    ran: set[str] = set()
    seen, products, mask = 0, 0, None

    def watcher(layer: LayerWeight) -> Callable[[nn.Module, torch.Tensor], None]:
        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            nonlocal products
            ran.add(layer.parameter)
            if layer.kind == "embedding":
                return
            vectors, places = layer_vectors(module, layer, inputs, mask, samples, generator)
            store.add(layer.parameter, vectors.transpose(1, 2) @ vectors * (places / vectors.shape[1]))
            if layer.parameter in centred:
                means.add(layer.parameter, vectors, places)
            products += places * vectors.shape[2] * (layer.layout.rows or 1)

        return see

    watched = [(layer.module, watcher(layer)) for layer in layers if layer.module is not None]
    with torch.inference_mode(), hooked(model, watched):
        for batch in batches:
            mask = attention_mask(batch)
            forward(model, to_device(batch, device))
            seen += batch_length(batch)
            progress(batch_length(batch))
    for layer in layers:
        if layer.parameter in store:
            energies[layer.parameter] = store[layer.parameter].diagonal(dim1=1, dim2=2).sum(dim=1) / seen
            if layer.parameter in centred:
                store.add(layer.parameter, -CENTRED * means.outer(layer.parameter, means))
            store[layer.parameter] = moments = store[layer.parameter] / seen
            if not bool(torch.isfinite(moments).all()):
                raise MomosError(
                    f"{layer.parameter}: what reaches its layer is not finite on the calibration inputs; give others, "
                    "or use --calibrate none"
                )
    silent = tuple(layer.parameter for layer in layers if layer.module is not None and layer.parameter not in ran)
    return Statistics(store, energies, {}, seen, silent, products // max(seen, 1))


def layer_vectors(
    module: nn.Module,
    layer: LayerWeight,
    inputs: torch.Tensor,
    mask: torch.Tensor | None,
    samples: int,
    generator: torch.Generator,
    *,
    least: int = MIN_VECTORS,
) -> tuple[torch.Tensor, int]:
    """What the layer's columns meet at some places of the batch (groups, m, columns), and at how many in all.

    samples: of all batches, over which about ``least`` vectors are drawn where there are so many: fewer long ones.
    """
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    width = weight.numel() // (layer.layout.rows or 1)
    wanted = max(min(least, MIN_VALUES // width), VECTORS_PER_COLUMN * width)
    keep = -(-wanted // max(samples, 1))
    real = inputs if layer.kind == "convolution" else real_tokens(inputs, mask)
    return columns(module, real.float(), len(inputs), keep, generator)


def collect_shift(
    original: nn.Module,
    compressed: nn.Module,
    layers: Sequence[LayerWeight],
    batches: Iterable[Inputs],
    samples: int,
    *,
    device: str,
    seed: int,
    centred: Container[str] = (),
    directory: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[MatrixStore, MatrixStore]:
    """Of the compressed network's layer inputs x' and the original's x: E[x' x'^T] and E[(x - x') x'^T], a sample.

    centred: as in ``collect_moments``.
    """
    moments, shifts = MatrixStore(directory), MatrixStore(directory)
    means, gaps = Means(), Means()
    seen, mask, number = 0, None, 0
    # In the order of the runs, for a layer may run more than once.
    before: dict[str, deque[torch.Tensor]] = defaultdict(deque)

    def vectors(layer: LayerWeight, module: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, int]:
        # The same places in both networks.
        generator = torch.Generator().manual_seed(seed + number)
        return layer_vectors(module, layer, inputs, mask, samples, generator, least=PAIRED_VECTORS)

    def remember(layer: LayerWeight) -> Callable[[nn.Module, torch.Tensor], None]:
        return lambda module, inputs: before[layer.parameter].append(vectors(layer, module, inputs)[0])

    def compare(layer: LayerWeight) -> Callable[[nn.Module, torch.Tensor], None]:
        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            here, places = vectors(layer, module, inputs)
            there = before[layer.parameter].popleft() if before[layer.parameter] else None
            if there is None or there.shape != here.shape:  # such as an expert that was chosen for other tokens
                return
            gap, share = there - here, places / here.shape[1]
            if layer.parameter in centred:
                means.add(layer.parameter, here, places)
                gaps.add(layer.parameter, gap, places)
            moments.add(layer.parameter, here.transpose(1, 2) @ here * share)
            shifts.add(layer.parameter, gap.transpose(1, 2) @ here * share)

        return see

    watched = [layer for layer in layers if layer.module is not None and layer.kind != "embedding"]
    with (
        torch.inference_mode(),
        hooked(original, [(layer.module or "", remember(layer)) for layer in watched]),
        hooked(compressed, [(layer.module or "", compare(layer)) for layer in watched]),
    ):
        for batch in batches:
            mask, inputs = attention_mask(batch), to_device(batch, device)
            before.clear()
            forward(original, inputs)
            forward(compressed, inputs)
            seen, number = seen + batch_length(batch), number + 1
            progress(batch_length(batch))
    for layer in watched:
        if layer.parameter in moments:
            if layer.parameter in centred:
                moments.add(layer.parameter, -CENTRED * means.outer(layer.parameter, means))
                shifts.add(layer.parameter, -CENTRED * gaps.outer(layer.parameter, means))
            moments[layer.parameter] = moments[layer.parameter] / seen
            shifts[layer.parameter] = shifts[layer.parameter] / seen
    return moments, shifts


def collect_gradients(
    model: nn.Module,
    layers: Iterable[LayerWeight],
    batches: Iterable[Inputs],
    *,
    device: str,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, torch.Tensor]:
    """Squared gradients of the outputs for each row of each weight, summed over its columns, a sample: (rows,).

    Hutchinson's estimate: outputs are weighted with random signs, so that the products of two outputs, and of two
    samples of a batch, cancel in the mean.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    layers = list(layers)
    wanted = {layer.parameter: parameters[layer.own_name] for layer in layers if layer.own_name in parameters}
    totals = {layer.parameter: torch.zeros(layer.layout.rows or 1) for layer in layers if layer.parameter in wanted}
    seen = 0
    if not wanted:
        return {}
    trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    unique = {id(parameter): parameter for parameter in wanted.values()}
    for parameter in unique.values():
        parameter.requires_grad_(True)
    try:
        for batch in batches:
            out = forward(model, to_device(batch, device))
            signs = torch.randint(0, 2, out.shape, generator=generator).to(out) * 2 - 1
            mask = attention_mask(batch)
            if mask is not None and mask.shape == out.shape[: mask.ndim]:
                signs = signs * mask.to(out).reshape(*mask.shape, *(1,) * (out.ndim - mask.ndim))
            by_id: dict[int, torch.Tensor | None] = {}
            if out.requires_grad:  # else the outputs depend on none of them
                gradients = torch.autograd.grad((out * signs).sum(), list(unique.values()), allow_unused=True)
                by_id = dict(zip(unique, gradients, strict=True))
            for layer in layers:
                gradient = by_id.get(id(wanted.get(layer.parameter)))
                if gradient is not None:
                    squared = layer.layout.matrix(gradient).float().square().sum(dim=1)
                    totals[layer.parameter] += squared.cpu()
            seen += batch_length(batch)
            progress(batch_length(batch))
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(trainable[name])
    for name, total in totals.items():
        if not bool(torch.isfinite(total).all()):
            raise MomosError(
                f"{name}: its gradients are not finite on the calibration inputs; give others, or use --calibrate none"
            )
    return {name: total / max(seen, 1) for name, total in totals.items()}
