"""What a checkpoint's complexity is compared with: fresh random weights, or its own weights in random order."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from momos_compress.measures.bits import CHUNK
from momos_compress.sources.checkpoint import Checkpoint

BUFFER_SUFFIXES = ("running_mean", "running_var", "num_batches_tracked", "position_ids", "inv_freq")
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Baseline:
    """What the weights are compared with.

    Attributes:
        kind: "initialiser" (the library's own), "gaussian" or "shuffled".
        seed: Seed of the random values.
        note: What was done, in words.
    """

    kind: Literal["initialiser", "gaussian", "shuffled"]
    seed: int
    note: str


def measured_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Names of the tensors that BDM runs over, in order.

    The trainable parameters in the order of ``model.parameters()``. Where no architecture is known, the file's
    floating-point tensors in its own order, without those named like well-known buffers.
    """
    if checkpoint.parameters is not None:
        return checkpoint.parameters
    return tuple(
        info.name
        for info in checkpoint.tensors.infos
        if info.dtype.is_floating_point and not info.name.endswith(BUFFER_SUFFIXES)
    )


def choose_baseline(checkpoint: Checkpoint, *, seed: int) -> Baseline:
    """The baseline of fresh random weights for a checkpoint.

    The library's initialiser where the architecture is known and the file holds all its parameters; else a Gaussian.
    Weights that are random themselves get the next seed, so that they are not compared with themselves.
    """
    if not checkpoint.provenance.get("pretrained", True):
        seed += 1
    if checkpoint.architecture is not None and checkpoint.parameters is not None:
        name = checkpoint.architecture.name
        return Baseline("initialiser", seed, f"{name} as {checkpoint.architecture.library} initialises it, seed {seed}")
    return Baseline(
        "gaussian", seed, f"no architecture known: a Gaussian with each tensor's own deviation, seed {seed}"
    )


def shuffled_baseline(seed: int) -> Baseline:
    """The baseline that keeps each tensor's values and shuffles their order."""
    return Baseline("shuffled", seed, f"the same values in random order within each tensor, seed {seed}")


def baseline_tensors(checkpoint: Checkpoint, baseline: Baseline) -> Iterator[tuple[str, torch.Tensor]]:
    """The baseline's weights under the names and in the order of ``measured_names``, one tensor at a time."""
    names = measured_names(checkpoint)
    if baseline.kind == "initialiser" and checkpoint.architecture is not None:
        model = checkpoint.architecture.build(seed=baseline.seed)
        # The file's names may differ by a prefix, so pair by position: both are in parameters() order.
        yield from zip(names, (p.detach() for p in model.parameters() if p.requires_grad), strict=True)
        return
    generator = torch.Generator().manual_seed(baseline.seed)
    for index, name in enumerate(names):
        tensor = checkpoint.read(name)
        if baseline.kind == "shuffled":
            yield name, _shuffled(tensor, np.random.default_rng([baseline.seed, index]))
        else:
            yield name, _gaussian(tensor, generator)


def _gaussian(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Gaussian values of the same shape and deviation, float32."""
    deviation, drawn = _deviation(tensor), torch.empty(tensor.numel())
    for start in range(0, len(drawn), CHUNK):
        part = drawn[start : start + CHUNK]
        torch.randn(len(part), generator=generator, out=part).mul_(deviation)
    return drawn.reshape(tensor.shape)


def _shuffled(tensor: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    values = tensor.detach().reshape(-1).cpu().clone()
    rng.shuffle(values.view(_INTEGERS[values.element_size()]).numpy())  # numpy knows no bfloat16, and needs not to
    return values.reshape(tensor.shape)


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
