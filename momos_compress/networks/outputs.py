"""How far a network's outputs are from another's."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional

from momos_compress.data.batches import Inputs, attention_mask, batch_length, to_device
from momos_compress.networks.forward import forward


def output_loss(out: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """How far outputs are from the original's: KL divergence of class scores, else relative squared error.

    Args:
        out: (n, classes) scores before softmax, or outputs of any other shape (n, ...).
        target: The original's, of the same shape.
        mask: (n, t), which tokens of outputs (n, t, ...) count; None where all do.

    Returns:
        A scalar: KL divergence of ``out`` from ``target`` in nats, a mean over samples; or the squared error over the
        energy of ``target``.
    """
    if out.ndim == 2 and out.shape[1] > 1:
        return functional.kl_div(
            functional.log_softmax(out, dim=1),
            functional.log_softmax(target, dim=1),
            log_target=True,
            reduction="batchmean",
        )
    error = (out - target).square()
    real = _real(out, mask)
    return (error if real is None else error * real).sum() / output_weight(target, mask)


def mean_loss(network: nn.Module, batches: Iterable[Inputs], targets: Iterable[torch.Tensor], *, device: str) -> float:
    """The mean over samples of how far a network's outputs are from their targets.

    Args:
        network: On ``device``.
        batches: Inputs, on the CPU.
        targets: The wanted outputs of each batch, on the CPU.
        device: Where the network is.
    """
    total, samples = 0.0, 0
    with torch.inference_mode():
        for batch, target in zip(batches, targets, strict=True):
            inputs = to_device(batch, device)
            loss = output_loss(forward(network, inputs), target.to(device), attention_mask(inputs))
            total, samples = total + float(loss) * batch_length(batch), samples + batch_length(batch)
    return total / max(samples, 1)


def output_weight(target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """What ``output_loss`` is a mean over, by which losses of several batches are weighted.

    Args:
        target: The original's outputs.
        mask: (n, t), which tokens of outputs (n, t, ...) count; None where all do.

    Returns:
        A scalar: the number of samples for class scores (n, classes), else the energy of the outputs.
    """
    if target.ndim == 2 and target.shape[1] > 1:
        return target.new_tensor(len(target))
    energy = target.square()
    real = _real(target, mask)
    return (energy if real is None else energy * real).sum().clamp(min=1e-12)


def _real(out: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
    """The mask in a shape that broadcasts against ``out``; None where it says nothing of it."""
    if mask is None or mask.shape != out.shape[: mask.ndim]:
        return None
    return mask.to(out).reshape(*mask.shape, *(1,) * (out.ndim - mask.ndim))
