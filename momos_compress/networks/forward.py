"""Runs a network on a batch, and names the one tensor that stands for its outputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs
from momos_compress.errors import MomosError, one_line


def forward(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    """Run a network and take its outputs as one tensor (n, ...).

    Raises:
        MomosError: The network fails, or gives nothing that can stand for its outputs.
    """
    try:
        out: Any = model(**inputs) if isinstance(inputs, dict) else model(inputs)
    except Exception as error:  # networks raise what they like
        raise MomosError(
            f"{type(model).__name__} fails on a calibration batch ({one_line(error, 160)}); give inputs it takes, or "
            "`calibrate='none'`"
        ) from error
    return output_tensor(out)


def output_tensor(out: Any) -> torch.Tensor:
    """Find the one tensor that stands for a network's outputs: logits, or the last hidden states.

    Raises:
        MomosError: There is none.
    """
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
    raise MomosError(f"a network that gives {type(out).__name__} cannot be calibrated; use `calibrate='none'`")


def token_scores(model: nn.Module) -> nn.Module | None:
    """The layer that scores a vocabulary for each token; None where transformers knows of none."""
    find = getattr(model, "get_output_embeddings", None)
    try:
        found = None if find is None else find()
    except NotImplementedError:
        return None
    return found if isinstance(found, nn.Module) else None


@contextmanager
def last_scores_only(model: nn.Module) -> Iterator[None]:
    """Let a network score the last token of each text alone: those of all are many times what other layers hold."""
    layer = token_scores(model)
    if layer is None:
        yield
        return

    def last(module: nn.Module, args: Any) -> Any:
        return (args[0][:, -1:], *args[1:]) if args and args[0].ndim == 3 else None

    handle = layer.register_forward_pre_hook(last)
    try:
        yield
    finally:
        handle.remove()
