"""Meters of a compressed network against its original, on samples that it was not fitted to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import nn

from momos_compress.common.progress import Progress, silent
from momos_compress.data.batches import to_device
from momos_compress.data.draws import CalibrationData
from momos_compress.networks.accuracy import evaluate
from momos_compress.networks.comparison import compare_outputs, kind_of, predicts_next
from momos_compress.networks.costs import products_of, samples_at_once
from momos_compress.networks.fidelity import Fidelity, quantity_of
from momos_compress.networks.forward import forward

HELD_OUT = 512
"""Samples kept apart to measure on, where there are enough."""

MEASURE_PRODUCTS = 2 * 10**12
"""Multiplications that one pass over the samples may take: large networks see fewer samples."""

MIN_MEASURED = 32
"""Samples measured on, however large the network is."""

MEASURE_BATCH = 64
"""Samples of a batch at most."""


Found = TypeVar("Found")


@dataclass(frozen=True)
class Meter(Generic[Found]):
    """Measures a compressed network against its original.

    Attributes:
        what: What a drop is a drop of, and on which samples.
        step: Points that one sample is worth; None where a drop is no count of samples.
        measure: From a compressed network, the points lost or the record of what is lost.
        before: Points of the original.
    """

    what: str
    step: float | None
    measure: Callable[[nn.Module], Found]
    before: float = 100.0

    def __call__(self, compressed: nn.Module) -> Found:
        """What is lost in a compressed network."""
        return self.measure(compressed)


def accuracy_meter(original: nn.Module, data: str, *, device: str, progress: Progress = silent) -> Meter[float]:
    """Measure the original on labelled images, and make a meter of top-1 accuracy from it.

    Args:
        original: An image classifier of timm.
        data: A registered data set, a folder of folders named by class, or a tar of one.
        device: Where networks run.
        progress: Told images done, as stage "accuracy", here and in each measurement.

    Raises:
        MomosError: The data cannot be read or do not fit the network.
    """
    before = evaluate(original, data, device=device, progress=progress)

    def measure(compressed: nn.Module) -> float:
        return before.top1 - evaluate(compressed, data, device=device, progress=progress).top1

    return Meter(f"top-1 accuracy on the {before.images:,} images of {data}", 100 / before.images, measure, before.top1)


def output_meter(
    original: nn.Module, samples: CalibrationData, *, held_out: bool | None, device: str
) -> Meter[Fidelity]:
    """Make a meter of outputs against the original's, without labels.

    Args:
        original: The network, on ``device``.
        samples: Inputs that both networks are run on.
        held_out: Whether the compressed networks are not fitted to them; None where that is not known.
        device: Where networks run.

    Returns:
        A meter whose record has a drop of the share of samples, or tokens, where both rank the same class first; of
        the mean cosine for networks that give no class scores.
    """
    one = to_device(samples.longest(1), device)
    with torch.inference_mode():
        kind = kind_of(original, forward(original, one))
    next_tokens = kind == "tokens" and predicts_next(original, one)
    count = min(samples.samples, max(MIN_MEASURED, MEASURE_PRODUCTS // max(1, products_of(original, one))))
    batch = max(1, min(MEASURE_BATCH, samples_at_once(original, one)))
    described = samples.description if count == samples.samples else f"{count:,} of {samples.description}"

    def measure(compressed: nn.Module) -> Fidelity:
        return compare_outputs(
            original,
            compressed,
            samples.batches(batch, count),
            kind=kind,
            next_tokens=next_tokens,
            measured_on=described,
            held_out=held_out,
            device=device,
        )

    return Meter(f"{quantity_of(kind)} on {described}", 100 / count if kind == "classes" else None, measure)
