"""What a compressed network's own norms and biases can make good: means and variances back to the original's.

Both networks see the same inputs, so that only what compression changed is corrected, and not what differs between the
inputs and the training data. Source: bias correction of data-free quantisation (Nagel et al. 2019), in pairs.
"""

from collections import Counter
from collections.abc import Container, Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from momos_compress.data.batches import Inputs, attention_mask, real_tokens
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import LayerWeight

VARIANCE_RANGE = (0.1, 10.0)
CONSTANT = 1e-12
"""Variance, in both networks, of a channel that is the same everywhere."""
RUNNING = ("running_mean", "running_var")


def batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Batch norms that keep running statistics, by module name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            found[name] = module
    return found


def repairable(
    model: nn.Module, layers: Iterable[LayerWeight], inputs: Inputs, *, fixed: Container[str] = ()
) -> set[str]:
    """Parameters of layers whose mean outputs ``repair`` puts right: with a bias, or right before a batch norm."""
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
            module = model.get_submodule(layer.module)
            if isinstance(getattr(module, "bias", None), nn.Parameter):
                if f"{layer.module}.bias" not in fixed:
                    found.add(layer.parameter)
                continue
            stack.callback(module.register_forward_hook(remember(layer.parameter)).remove)
        for name, norm in batch_norms(model).items():
            if not any(f"{name}.{own}" in fixed for own in RUNNING):
                stack.callback(norm.register_forward_pre_hook(meet).remove)
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
    """Correct ``compressed`` in place on one batch, layer after layer; returns the names of the tensors changed.

    Batch norms: mean and variance of what they give are the original's again. Biases of compressed layers: the
    difference of the layers' mean outputs is taken off. What runs more than once has no one mean and is left alone, as
    are tensors named ``fixed``.
    """
    mask = attention_mask(batch)
    wanted = {layer.module for layer in layers if layer.module is not None and layer.kind != "embedding"}
    norms = {name for name in batch_norms(original) if not any(f"{name}.{own}" in fixed for own in RUNNING)}
    biased = {
        name
        for name in wanted
        if isinstance(getattr(original.get_submodule(name), "bias", None), nn.Parameter) and f"{name}.bias" not in fixed
    }
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    runs: Counter[str] = Counter()
    changed: list[str] = []

    def remember(name: str, values: tuple[torch.Tensor, torch.Tensor]) -> None:
        runs[name] += 1
        seen[name] = values
        if runs[name] > 1:
            del seen[name]

    def remember_norm(name: str) -> Any:
        return lambda module, args: remember(name, channel_moments(args[0]))

    def remember_output(name: str) -> Any:
        return lambda module, args, out: remember(name, (output_mean(module, out, mask), torch.empty(0)))

    def correct_norm(name: str) -> Any:
        def hook(module: _BatchNorm, args: Any) -> None:
            if name not in seen:
                return
            mean, variance = channel_moments(args[0])
            mean_before, variance_before = seen[name]
            assert module.running_mean is not None
            assert module.running_var is not None
            ratio = ((variance + CONSTANT) / (variance_before + CONSTANT)).clamp(*VARIANCE_RANGE)
            # (x - mean) / deviation is to be what it was; the mean on these inputs need not be the running one.
            gap = (mean_before - module.running_mean) * ratio.sqrt()
            module.running_mean.copy_(mean - gap)
            module.running_var.copy_(((module.running_var + module.eps) * ratio - module.eps).clamp(min=0))
            changed.extend(f"{name}.{own}" for own in RUNNING)

        return hook

    def correct_output(name: str) -> Any:
        def hook(module: nn.Module, args: Any, out: Any) -> Any:
            if name not in seen:
                return out
            shift = seen[name][0] - output_mean(module, out, mask)
            bias = module.bias
            assert isinstance(bias, torch.Tensor)
            bias += shift.to(bias)
            changed.append(f"{name}.bias")
            return out + shift.reshape(_along_channels(module, out)).to(out)

        return hook

    for model, on_norm, on_output in (
        (original, remember_norm, remember_output),
        (compressed, correct_norm, correct_output),
    ):
        with ExitStack() as stack, torch.no_grad():
            for name in norms:
                stack.callback(model.get_submodule(name).register_forward_pre_hook(on_norm(name)).remove)
            for name in biased:
                stack.callback(model.get_submodule(name).register_forward_hook(on_output(name)).remove)
            forward(model, batch)
    return changed


def channel_moments(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of each channel of (n, channels, ...)."""
    flat = inputs.transpose(0, 1).reshape(inputs.shape[1], -1)
    return flat.mean(dim=1), flat.var(dim=1, unbiased=False)


def _along_channels(module: nn.Module, out: torch.Tensor) -> tuple[int, ...]:
    """The shape of one value for each output of the layer, against ``out``."""
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return (1, -1, *(1,) * (out.ndim - 2))
    return (-1,)


def output_mean(module: nn.Module, out: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of each output of a layer over samples and places."""
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return channel_moments(out)[0]
    out = real_tokens(out, mask)
    return out.reshape(-1, out.shape[-1]).mean(dim=0)
