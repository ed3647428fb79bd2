"""How far a network's outputs are from another's."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional

from momos_compress.data.batches import Inputs, attention_mask, to_device
from momos_compress.networks.forward import forward


def output_loss(
    out: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None, *, scores: bool | None = None
) -> torch.Tensor:
    """How far outputs are from the original's: KL divergence of class scores, else relative squared error.

    Args:
        out: (n, classes) or (n, t, classes) scores before softmax, or outputs of any other shape (n, ...).
        target: The original's, of the same shape.
        mask: (n, t), which tokens of outputs (n, t, ...) count; None where all do.
        scores: Whether outputs are scores; None takes those of shape (n, classes) to be.

    Returns:
        A scalar: KL divergence of ``out`` from ``target`` in nats, a mean over samples or tokens; or the squared error
        over the energy of ``target``.
    """
    if _are_scores(target, scores):
        ours, theirs = (functional.log_softmax(each, dim=-1) for each in (out, target))
        error = functional.kl_div(ours, theirs, log_target=True, reduction="none").sum(dim=-1)
    else:
        error = (out - target).square()
    real = _real(error, mask)
    return (error if real is None else error * real).sum() / output_weight(target, mask, scores=scores)


def mean_loss(
    original: nn.Module, network: nn.Module, batches: Iterable[Inputs], *, device: str, scores: bool | None = None
) -> float:
    """The mean of ``output_loss`` over batches; one batch's outputs are held at a time.

    Args:
        original: The network whose outputs are wanted, on ``device``.
        network: The other, on ``device``.
        batches: Inputs, on the CPU.
        device: Where the networks are.
        scores: As in ``output_loss``.
    """
    total = weights = 0.0
    with torch.inference_mode():
        for batch in batches:
            inputs = to_device(batch, device)
            mask, target = attention_mask(inputs), forward(original, inputs)
            weight = float(output_weight(target, mask, scores=scores))
            total += weight * float(output_loss(forward(network, inputs), target, mask, scores=scores))
            weights += weight
    return total / max(weights, 1e-12)


def output_weight(target: torch.Tensor, mask: torch.Tensor | None, *, scores: bool | None = None) -> torch.Tensor:
    """What ``output_loss`` is a mean over, by which losses of several batches are weighted.

    Args:
        target: The original's outputs.
        mask: (n, t), which tokens of outputs (n, t, ...) count; None where all do.
        scores: As in ``output_loss``.

    Returns:
        A scalar: the number of samples or tokens for class scores, else the energy of the outputs.
    """
    weight = torch.ones_like(target[..., 0]) if _are_scores(target, scores) else target.square()
    real = _real(weight, mask)
    return (weight if real is None else weight * real).sum().clamp(min=1e-12)


def _are_scores(target: torch.Tensor, scores: bool | None) -> bool:
    return target.ndim in (2, 3) and target.shape[-1] > 1 and (target.ndim == 2 if scores is None else scores)


def _real(out: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask in a shape that broadcasts against ``out``; None where it says nothing of it."""
    if mask is None or mask.shape != out.shape[: mask.ndim]:
        return None
    return mask.to(out).reshape(*mask.shape, *(1,) * (out.ndim - mask.ndim))
