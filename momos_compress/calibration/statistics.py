"""What a layer does to its outputs' errors: second moments of its inputs, importance of its outputs.

An error E of a weight W (rows, columns) changes the network's outputs by about sum_o g_o E_o H E_o^T, with H = E[x x^T]
of the layer's inputs (Hassibi and Stork 1993; GPTQ, arXiv 2210.17323) and g_o from squared gradients of the outputs.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.calibration.layers import LayerWeight, columns
from momos_compress.errors import MomosError, one_line

Inputs = torch.Tensor | dict[str, torch.Tensor]
"""One batch, called as model(x) or model(**x)."""

VECTORS_PER_COLUMN = 16
MIN_VECTORS = 2**17
"""Input vectors that a layer's second moments are taken from, at least where its samples give so many."""


def forward(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    """The network's outputs as one tensor (n, ...); MomosError where it fails."""
    try:
        out: Any = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    except Exception as error:  # networks raise what they like
        raise MomosError(
            f"{type(model).__name__} fails on a calibration batch ({one_line(error, 160)}); give inputs it takes, or "
            "--calibrate none"
        ) from error
    return output_tensor(out)


def output_tensor(out: Any) -> torch.Tensor:
    """The one tensor that stands for a network's outputs: logits, or the last hidden states."""
    if isinstance(out, torch.Tensor):
        return out
    for name in ("logits", "last_hidden_state"):
        found = getattr(out, name, None)
        if isinstance(found, torch.Tensor):
            return found
    if isinstance(out, (tuple, list)) and out:
        return output_tensor(out[0])
    if isinstance(out, dict) and out:
        return output_tensor(next(iter(out.values())))
    raise MomosError(f"a network that gives {type(out).__name__} cannot be calibrated; use --calibrate none")


def to_device(inputs: Inputs, device: str) -> Inputs:
    """The same batch on a device."""
    if isinstance(inputs, dict):
        return {name: tensor.to(device) for name, tensor in inputs.items()}
    return inputs.to(device)


def batch_length(inputs: Inputs) -> int:
    """Samples in a batch."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)


def attention_mask(inputs: Inputs) -> torch.Tensor | None:
    """Which tokens of a batch are real (n, t), where it says so: those that only fill it say nothing."""
    return inputs.get("attention_mask") if isinstance(inputs, dict) else None


def real_tokens(inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """A layer's inputs (n, t, c) without the tokens that only fill the batch; others as they are."""
    if mask is None or inputs.ndim != 3 or inputs.shape[:2] != mask.shape:
        return inputs
    return inputs[mask.to(inputs.device).bool()]


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
        self._file.write(memoryview(tensor.detach().float().cpu().contiguous().numpy()).cast("B"))

    def __getitem__(self, name: str) -> torch.Tensor:
        start, shape = self._places[name]
        out = torch.empty(shape)
        self._file.seek(start)
        self._file.readinto(memoryview(out.numpy()).cast("B"))  # type: ignore[attr-defined]
        return out

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Add to what is there, or begin it."""
        self[name] = self[name].to(tensor.device) + tensor if name in self else tensor


@dataclass
class Statistics:
    """By parameter name: second moments (groups, columns, columns) a sample, squared gradients (rows,) a sample.

    samples: how many were seen. silent: parameters whose layer never ran.
    """

    moments: MatrixStore
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)
    samples: int = 0
    silent: tuple[str, ...] = ()


@contextmanager
def hooked(model: nn.Module, hooks: Iterable[tuple[str, Callable[[nn.Module, Any], None]]]) -> Iterator[None]:
    """Call each function with its module and the module's first input, before the module runs."""
    with ExitStack() as stack:
        for name, function in hooks:

            def hook(
                module: nn.Module, args: Any, kwargs: Any, function: Callable[..., None] = function
            ) -> None:
                function(module, args[0] if args else next(iter(kwargs.values())))

            handle = model.get_submodule(name).register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def collect_moments(
    model: nn.Module,
    layers: Iterable[LayerWeight],
    batches: Iterable[Inputs],
    samples: int,
    *,
    device: str,
    seed: int,
    directory: Path | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Statistics:
    """Second moments of each layer's inputs over these batches; what they hold in all is ``samples``."""
    store, seen = MatrixStore(directory), 0
    generator = torch.Generator().manual_seed(seed)
    watched = [layer for layer in layers if layer.module is not None and layer.kind != "embedding"]

    mask: torch.Tensor | None = None

    def watcher(layer: LayerWeight) -> Callable[[nn.Module, torch.Tensor], None]:
        def see(module: nn.Module, inputs: torch.Tensor) -> None:
            store.add(layer.parameter, moments(module, real_tokens(inputs, mask), samples, generator))

        return see

    ran: set[str] = set()
    marks = [(layer.module or "", lambda module, _, name=layer.parameter: ran.add(name)) for layer in layers]
    marks = [mark for mark in marks if mark[0]]
    with torch.inference_mode(), hooked(model, [*((w.module or "", watcher(w)) for w in watched), *marks]):
        for batch in batches:
            mask = attention_mask(batch)
            forward(model, to_device(batch, device))
            seen += batch_length(batch)
            progress(batch_length(batch))
    for layer in watched:
        if layer.parameter in store:
            store[layer.parameter] = store[layer.parameter] / seen
    silent = tuple(layer.parameter for layer in layers if layer.module is not None and layer.parameter not in ran)
    return Statistics(store, {}, seen, silent)


def moments(module: nn.Module, inputs: torch.Tensor, samples: int, generator: torch.Generator) -> torch.Tensor:
    """Sum over the batch's places of x x^T: (groups, columns, columns), estimated from some of the places."""
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    width = weight.numel() // weight.shape[0] if weight.ndim > 2 else inputs.shape[-1]
    keep = -(-max(MIN_VECTORS, VECTORS_PER_COLUMN * width) // max(samples, 1))
    vectors, places = columns(module, inputs.float(), max(keep, 1), generator)
    return vectors.transpose(1, 2) @ vectors * (places / vectors.shape[1])


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
    wanted = {layer.parameter: parameters[layer.own_name] for layer in layers if layer.own_name in parameters}
    totals = {layer.parameter: torch.zeros(layer.layout.rows or 1) for layer in layers if layer.parameter in wanted}
    seen = 0
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
    return {name: total / max(seen, 1) for name, total in totals.items()}
