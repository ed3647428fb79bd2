"""Importance of a layer's outputs: squared gradients of the network's outputs, by row of each weight."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from momos_compress.data.batches import Inputs, attention_mask, batch_length, to_device
from momos_compress.errors import MomosError
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import LayerWeight

EVEN = 0.25
"""Share of a class's probability that is the same for all: few samples show few classes."""


def collect_gradients(
    model: nn.Module,
    layers: Iterable[LayerWeight],
    batches: Iterable[Inputs],
    *,
    device: str,
    seed: int,
    classes: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, torch.Tensor]:
    """Squared gradients of the outputs for each row of each weight, summed over its columns.

    Hutchinson's estimate: outputs are weighted with random signs, so that the products of two outputs, and of two
    samples of a batch, cancel in the mean.

    Args:
        model: The network, on ``device``.
        layers: Weights; those that are no parameters of the network have no gradients.
        batches: Inputs, on the CPU.
        device: Where the network is.
        seed: Of the signs.
        classes: Whether outputs are scores of classes: their squares are then those of the KL divergence (Fisher's
            information) instead of the scores' own.
        progress: Told the samples done since the last call.

    Returns:
        (rows,) float32 a sample, by the weight's name.

    Raises:
        MomosError: The network fails on the inputs, or its gradients are not finite.
    """
    totals, seen = sum_gradients(model, layers, batches, device=device, seed=seed, classes=classes, progress=progress)
    for name, total in totals.items():
        if not bool(torch.isfinite(total).all()):
            raise MomosError(
                f"{name}: its gradients are not finite on the calibration inputs; give others, or use "
                "`calibrate='none'`"
            )
    return {name: total / max(seen, 1) for name, total in totals.items()}


def sum_gradients(
    model: nn.Module,
    layers: Iterable[LayerWeight],
    batches: Iterable[Inputs],
    *,
    device: str,
    seed: int,
    classes: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, torch.Tensor], int]:
    """The sums of ``collect_gradients`` over samples, finite or not, and the samples seen."""
    generator = torch.Generator().manual_seed(seed)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    wanted = {layer: parameters[layer.own_name] for layer in layers if layer.own_name in parameters}
    totals = {layer.parameter: torch.zeros(layer.layout.rows or 1) for layer in wanted}
    seen = 0
    if not wanted:
        return {}, seen

    def take(parameter: torch.Tensor) -> None:
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None
        for layer, own in wanted.items():
            if own is parameter:
                totals[layer.parameter] += layer.layout.matrix(gradient).float().square().sum(dim=1).cpu()

    with _trainable(parameters, wanted.values()) as unique, ExitStack() as stack:
        for parameter in unique.values():  # each gradient goes as it comes: all together would be a second network
            handle = parameter.register_post_accumulate_grad_hook(take)  # type: ignore[no-untyped-call]
            stack.callback(handle.remove)
        for batch in batches:
            out = forward(model, to_device(batch, device))
            if out.requires_grad:  # else the outputs depend on none of them
                signed = (out * _directions(out, attention_mask(batch), generator, classes)).sum()
                signed.backward()  # type: ignore[no-untyped-call]
            seen += batch_length(batch)
            progress(batch_length(batch))
    return totals, seen


def _directions(
    out: torch.Tensor, mask: torch.Tensor | None, generator: torch.Generator, classes: bool
) -> torch.Tensor:
    """Random weights of outputs whose second moments are the metric in which outputs are compared.

    For scores z it is diag(p) - p p^T, the second derivative of the KL divergence of softmax(z): with signs e,
    u = sqrt(p) e - p (sqrt(p) . e) has these moments.
    """
    signs = _signs(out, mask, generator)
    if not classes:
        return signs
    shares = (1 - EVEN) * out.detach().softmax(dim=-1) + EVEN / out.shape[-1]
    rooted = shares.sqrt() * signs
    return rooted - shares * rooted.sum(dim=-1, keepdim=True)


def _signs(out: torch.Tensor, mask: torch.Tensor | None, generator: torch.Generator) -> torch.Tensor:
    """A random sign for each output; 0 for those of tokens that only fill the batch."""
    signs = torch.randint(0, 2, out.shape, generator=generator).to(out) * 2 - 1
    if mask is not None and mask.shape == out.shape[: mask.ndim]:
        signs = signs * mask.to(out).reshape(*mask.shape, *(1,) * (out.ndim - mask.ndim))
    return signs


@contextmanager
def _trainable(
    parameters: Mapping[str, nn.Parameter], wanted: Iterable[nn.Parameter]
) -> Iterator[dict[int, nn.Parameter]]:
    """Let only ``wanted`` of the network's parameters have gradients; gives them by id, tied ones once."""
    before = {name: parameter.requires_grad for name, parameter in parameters.items()}
    unique = {id(parameter): parameter for parameter in wanted}
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    for parameter in unique.values():
        parameter.requires_grad_(True)
    try:
        yield unique
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])
