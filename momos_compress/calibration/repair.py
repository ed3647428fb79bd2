"""What a compressed network's own norms and biases can make good: means and variances back to the original's.

Both networks see the same inputs, so that only what compression changed is corrected, and not what differs between the
inputs and the training data. Source: bias correction of data-free quantisation (Nagel et al. 2019), in pairs.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from momos_compress.calibration.channels import batch_norms, channel_moments, output_mean, shaped_as_channels
from momos_compress.data.batches import Inputs, attention_mask
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import LayerWeight

VARIANCE_RANGE = (0.1, 10.0)
"""Least and greatest factor by which a running variance changes."""
CONSTANT = 1e-12
"""Variance below which a channel counts as the same everywhere."""
RUNNING = ("running_mean", "running_var")
"""A batch norm's statistics."""


@dataclass(frozen=True)
class _Before:
    """What the original computes on the batch, of modules that run once.

    Attributes:
        norms: Mean and variance (channels,) of what enters each batch norm, by module name.
        means: Mean of each output of each layer with a bias, by module name.
    """

    norms: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    means: Mapping[str, torch.Tensor]


def repairable(
    model: nn.Module, layers: Iterable[LayerWeight], inputs: Inputs, *, fixed: Container[str] = ()
) -> set[str]:
    """Weights of layers whose outputs' means ``repair`` puts right: with a bias, or right before a batch norm.

    Args:
        model: The network.
        layers: Weights and their layers.
        inputs: A batch that shows which layers lie before batch norms.
        fixed: Names, in the network, of tensors that may not change.
    """
    outputs: dict[int, tuple[torch.Tensor, str]] = {}
    found: set[str] = set()

    def remember(name: str) -> Any:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            outputs[id(out)] = out, name  # kept, so that no other tensor takes its id

        return hook

    def meet(module: nn.Module, args: Any) -> None:
        if id(args[0]) in outputs:
            found.add(outputs[id(args[0])][1])

    with ExitStack() as stack:
        for layer in layers:
            if layer.module is None or layer.kind == "embedding":
                continue
            if _has_bias(model, layer.module):
                if f"{layer.module}.bias" not in fixed:
                    found.add(layer.parameter)
                continue
            module = model.get_submodule(layer.module)
            stack.callback(module.register_forward_hook(remember(layer.parameter)).remove)
        for name in _free_norms(model, fixed):
            stack.callback(model.get_submodule(name).register_forward_pre_hook(meet).remove)
        with torch.inference_mode():
            forward(model, inputs)
    return found


def repair(
    original: nn.Module,
    compressed: nn.Module,
    layers: Iterable[LayerWeight],
    batch: Inputs,
    *,
    fixed: Container[str] = (),
) -> list[str]:
    """Correct ``compressed`` in place on one batch, layer after layer.

    Batch norms: mean and variance of what they give are the original's again. Biases of compressed layers: the
    difference of the layers' mean outputs is taken off. What runs more than once has no one mean and is left alone.

    Args:
        original: The network before compression.
        compressed: The same network with other weights.
        layers: Compressed weights and their layers.
        batch: What both networks see, on their device.
        fixed: Names, in the network, of tensors that may not change.

    Returns:
        Names, in the network, of the tensors that changed.
    """
    wanted = {layer.module for layer in layers if layer.module is not None and layer.kind != "embedding"}
    biased = {name for name in wanted if _has_bias(original, name) and f"{name}.bias" not in fixed}
    return _correct(compressed, _observe(original, _free_norms(original, fixed), biased, batch), batch)


def _free_norms(model: nn.Module, fixed: Container[str]) -> list[str]:
    """Batch norms whose statistics may change."""
    return [name for name in batch_norms(model) if not any(f"{name}.{own}" in fixed for own in RUNNING)]


def _has_bias(model: nn.Module, name: str) -> bool:
    return isinstance(getattr(model.get_submodule(name), "bias", None), nn.Parameter)


def _observe(model: nn.Module, norms: Iterable[str], biased: Iterable[str], batch: Inputs) -> _Before:
    """Run the original, and keep what ``repair`` compares with."""
    mask = attention_mask(batch)
    runs: Counter[str] = Counter()
    entering: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    means: dict[str, torch.Tensor] = {}

    def see_norm(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            runs[name] += 1
            entering[name] = channel_moments(args[0])

        return hook

    def see_output(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            runs[name] += 1
            means[name] = output_mean(module, out, mask)

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name in norms:
            stack.callback(model.get_submodule(name).register_forward_pre_hook(see_norm(name)).remove)
        for name in biased:
            stack.callback(model.get_submodule(name).register_forward_hook(see_output(name)).remove)
        forward(model, batch)
    return _Before(
        {name: seen for name, seen in entering.items() if runs[name] == 1},
        {name: seen for name, seen in means.items() if runs[name] == 1},
    )


def _correct(model: nn.Module, before: _Before, batch: Inputs) -> list[str]:
    """Run the compressed network, and correct each module as it runs; returns the names of the tensors changed."""
    mask = attention_mask(batch)
    changed: list[str] = []

    def correct_norm(name: str) -> Callable[..., None]:
        def hook(module: _BatchNorm, args: Any) -> None:
            _shift_statistics(module, before.norms[name], channel_moments(args[0]))
            changed.extend(f"{name}.{own}" for own in RUNNING)

        return hook

    def correct_output(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            shift = before.means[name] - output_mean(module, out, mask)
            bias = module.bias
            assert isinstance(bias, torch.Tensor)
            bias += shift.to(bias)
            changed.append(f"{name}.bias")
            return out + shift.reshape(shaped_as_channels(module, out)).to(out)

        return hook

    with ExitStack() as stack, torch.no_grad():
        for name in before.norms:
            stack.callback(model.get_submodule(name).register_forward_pre_hook(correct_norm(name)).remove)
        for name in before.means:
            stack.callback(model.get_submodule(name).register_forward_hook(correct_output(name)).remove)
        forward(model, batch)
    return changed


def _shift_statistics(
    norm: _BatchNorm, before: tuple[torch.Tensor, torch.Tensor], now: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """Change running statistics so that the norm gives of inputs of mean and variance ``now`` what it gave before."""
    (mean_before, variance_before), (mean, variance) = before, now
    assert norm.running_mean is not None
    assert norm.running_var is not None
    ratio = ((variance + CONSTANT) / (variance_before + CONSTANT)).clamp(*VARIANCE_RANGE)
    # (x - mean) / deviation is to be what it was; the mean on these inputs need not be the running one.
    gap = (mean_before - norm.running_mean) * ratio.sqrt()
    norm.running_mean.copy_(mean - gap)
    norm.running_var.copy_(((norm.running_var + norm.eps) * ratio - norm.eps).clamp(min=0))
