"""Batches of inputs, whichever form a network takes them in."""

import torch

Inputs = torch.Tensor | dict[str, torch.Tensor]
"""One batch x: a tensor that a network is called with as ``model(x)``, or a dictionary for ``model(**x)``."""


def to_device(inputs: Inputs, device: str) -> Inputs:
    """Move a batch to a device."""
    if isinstance(inputs, dict):
        return {name: tensor.to(device) for name, tensor in inputs.items()}
    return inputs.to(device)


def batch_length(inputs: Inputs) -> int:
    """Number of samples in a batch."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)


def split(inputs: Inputs, count: int | None) -> list[Inputs]:
    """Cut a batch into pieces of at most ``count`` samples, in order; None leaves it whole."""
    length = batch_length(inputs)
    parts = [slice(start, start + (count or length)) for start in range(0, length, count or length)]
    if not isinstance(inputs, dict):
        return [inputs[part] for part in parts]
    return [{name: tensor[part] for name, tensor in inputs.items()} for part in parts]


def attention_mask(inputs: Inputs) -> torch.Tensor | None:
    """Which tokens (n, t) of a batch are real and do not fill it up; None where the batch does not say."""
    return inputs.get("attention_mask") if isinstance(inputs, dict) else None


def real_tokens(inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Take the tokens that fill the batch out of what a layer is called with.

    Args:
        inputs: (n, t, c) for tokens; anything else comes back as it is.
        mask: Which tokens are real, (n, t), or None.

    Returns:
        (m, c), the m real tokens; or ``inputs``.
    """
    if mask is None or inputs.ndim != 3 or inputs.shape[:2] != mask.shape:
        return inputs
    return inputs[mask.to(inputs.device).bool()]
