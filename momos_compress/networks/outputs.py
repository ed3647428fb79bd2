"""How far a network's outputs are from another's."""

import torch
from torch.nn import functional


def output_loss(out: torch.Tensor, target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """How far outputs are from the original's: KL divergence of class scores (n, classes), else relative squared error.

    mask: (n, t), which tokens of (n, t, c) count.
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


def output_weight(target: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """What ``output_loss`` is a mean over, a scalar: samples, or the energy of the original's outputs."""
    if target.ndim == 2 and target.shape[1] > 1:
        return target.new_tensor(len(target))
    energy = target.square()
    real = _real(target, mask)
    return (energy if real is None else energy * real).sum().clamp(min=1e-12)


def _real(out: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
    if mask is None or mask.shape != out.shape[: mask.ndim]:
        return None
    return mask.to(out).reshape(*mask.shape, *(1,) * (out.ndim - mask.ndim))
