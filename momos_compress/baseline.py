"""What a checkpoint's complexity is compared with: the same architecture with fresh random weights."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from momos_compress.bits import CHUNK
from momos_compress.checkpoint import Checkpoint, TensorInfo

BUFFER_SUFFIXES = ("running_mean", "running_var", "num_batches_tracked", "position_ids", "inv_freq")


@dataclass(frozen=True)
class Baseline:
    """kind: "initialiser" (the library's own) or "gaussian"; ``note`` says in words what was done."""

    kind: Literal["initialiser", "gaussian"]
    seed: int
    note: str


def measured_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The tensors that BDM runs over, in order: trainable parameters as ``model.parameters()`` has them.

    Without an architecture: the file's floating-point tensors in its own order, but for names of well-known buffers.
    """
    if checkpoint.parameters is not None:
        return checkpoint.parameters
    return tuple(
        info.name
        for info in checkpoint.tensors.infos
        if info.dtype.is_floating_point and not info.name.endswith(BUFFER_SUFFIXES)
    )


def choose_baseline(checkpoint: Checkpoint, *, seed: int) -> Baseline:
    """The library's initialiser where the architecture is known and its parameters match the file's.

    Weights that are random themselves are compared with the next seed, not with themselves.
    """
    if not checkpoint.provenance.get("pretrained", True):
        seed += 1
    if checkpoint.architecture is not None and checkpoint.parameters is not None:
        name = checkpoint.architecture.name
        return Baseline("initialiser", seed, f"{name} as {checkpoint.architecture.library} initialises it, seed {seed}")
    return Baseline(
        "gaussian", seed, f"no architecture known: a Gaussian with each tensor's own deviation, seed {seed}"
    )


def baseline_tensors(checkpoint: Checkpoint, baseline: Baseline) -> Iterator[torch.Tensor]:
    """The baseline's weights, in the order of ``measured_names``; Gaussian ones come in pieces of bounded size."""
    if baseline.kind == "initialiser" and checkpoint.architecture is not None:
        model = checkpoint.architecture.build(seed=baseline.seed)
        # The file's order and names may differ by a prefix, so pair by position: both are parameters() order.
        yield from (parameter for parameter in model.parameters() if parameter.requires_grad)
        return
    generator = torch.Generator().manual_seed(baseline.seed)
    infos: dict[str, TensorInfo] = {info.name: info for info in checkpoint.tensors.infos}
    for name in measured_names(checkpoint):
        deviation = _deviation(checkpoint.read(name))
        for start in range(0, infos[name].values, CHUNK):
            yield torch.randn(min(CHUNK, infos[name].values - start), generator=generator) * deviation


def _deviation(tensor: torch.Tensor) -> float:
    """Population standard deviation, accumulated in float64 over pieces."""
    flat, total, squares = tensor.reshape(-1), 0.0, 0.0
    for start in range(0, flat.numel(), CHUNK):
        part = flat[start : start + CHUNK].double()
        total += float(part.sum())
        squares += float(part.square().sum())
    count = max(1, flat.numel())
    mean = total / count
    variance = squares / count - mean * mean
    return math.sqrt(variance) if 0 < variance < math.inf else 0.0
