"""Batches of calibration inputs, and what a network makes of them."""

import torch

Inputs = torch.Tensor | dict[str, torch.Tensor]
"""One batch: what a network is called with, ``model(x)`` for a tensor, ``model(**x)`` for a dictionary."""


def to_device(inputs: Inputs, device: str) -> Inputs:
    """The same batch on a device."""
    if isinstance(inputs, dict):
        return {name: tensor.to(device) for name, tensor in inputs.items()}
    return inputs.to(device)


def batch_length(inputs: Inputs) -> int:
    """Samples in a batch."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)


def split(inputs: Inputs, count: int | None) -> list[Inputs]:
    """A batch in pieces of at most ``count`` samples, in order; whole where that is None."""
    length = batch_length(inputs)
    parts = [slice(start, start + (count or length)) for start in range(0, length, count or length)]
    if not isinstance(inputs, dict):
        return [inputs[part] for part in parts]
    return [{name: tensor[part] for name, tensor in inputs.items()} for part in parts]


def attention_mask(inputs: Inputs) -> torch.Tensor | None:
    """Which tokens of a batch are real (n, t), where it says so: those that only fill it say nothing."""
    return inputs.get("attention_mask") if isinstance(inputs, dict) else None


def real_tokens(inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """A layer's inputs (n, t, c) without the tokens that only fill the batch; others as they are."""
    if mask is None or inputs.ndim != 3 or inputs.shape[:2] != mask.shape:
        return inputs
    return inputs[mask.to(inputs.device).bool()]
