"""How far a compressed network is from its original, on samples that it was not fitted to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from momos_compress.networks.accuracy import evaluate

if TYPE_CHECKING:
    from momos_compress.data.draws import CalibrationData

HELD_OUT = 512
"""Samples kept apart to measure on, where there are enough."""
MEASURE_PRODUCTS = 2 * 10**12
"""Multiplications that one pass over them may take: large networks see fewer samples."""
MIN_MEASURED = 32


@dataclass(frozen=True)
class Loss:
    """drop: points of accuracy, of agreement or of cosine lost. error: ``output_loss`` against the original's outputs.

    None: not measured.
    """

    drop: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class Meter:
    """Measures a network against its original.

    what: what a drop is a drop of, and on which samples. step: points that one sample is worth; None where a drop is
    no count. before: points of the original.
    """

    what: str
    step: float | None
    measure: Callable[[nn.Module], Loss]
    before: float = 100.0

    def __call__(self, compressed: nn.Module) -> Loss:
        """The loss of a compressed network."""
        return self.measure(compressed)


def accuracy_meter(
    original: nn.Module, data: str, *, device: str, progress: Callable[[str, int, int], None] = lambda *told: None
) -> Meter:
    """A meter of top-1 accuracy on labelled images (see ``evaluate``)."""
    told = 0

    def seen(images: int, total: int) -> None:
        nonlocal told
        told = 0 if images < told else told
        progress("accuracy", images - told, total)
        told = images

    before = evaluate(original, data, device=device, progress=seen)

    def measure(compressed: nn.Module) -> Loss:
        return Loss(drop=before.top1 - evaluate(compressed, data, device=device, progress=seen).top1)

    return Meter(f"top-1 accuracy on the {before.images:,} images of {data}", 100 / before.images, measure, before.top1)


def output_meter(original: nn.Module, samples: "CalibrationData", *, device: str) -> Meter:
    """A meter of outputs against the original's, without labels.

    A drop is of the share of samples, or tokens, where both give the same class; of the mean cosine for networks that
    give no class scores.
    """
    from momos_compress.data.batches import to_device
    from momos_compress.networks.costs import products_of, samples_at_once

    classes = gives_classes(original)
    one = to_device(samples.read(0, 1), device)
    count = min(samples.samples, max(MIN_MEASURED, MEASURE_PRODUCTS // max(1, products_of(original, one))))
    batch = max(1, min(64, samples_at_once(original, one)))

    def measure(compressed: nn.Module) -> Loss:
        return compare_outputs(original, compressed, samples.batches(batch, count), classes=classes, device=device)

    described = samples.description if count == samples.samples else f"{count:,} of {samples.description}"
    what = "agreement of top-1 with the original's" if classes else "mean cosine with the original's outputs"
    return Meter(f"{what} on {described}", 100 / count if classes else None, measure)


def gives_classes(model: nn.Module) -> bool:
    """Whether the last dimension of a network's outputs are scores of classes or of a vocabulary's words."""
    if hasattr(model, "pretrained_cfg"):
        return int(getattr(model, "num_classes", 0)) > 1
    name = type(model).__name__  # transformers' heads: GPT2LMHeadModel, BertForMaskedLM
    return "LMHead" in name or "For" in name


def compare_outputs(original: nn.Module, compressed: nn.Module, batches: Any, *, classes: bool, device: str) -> Loss:
    """The drop and the output error of ``compressed`` over batches; one batch's outputs are held at a time."""
    from momos_compress.data.batches import attention_mask, batch_length, real_tokens, to_device
    from momos_compress.networks.forward import forward
    from momos_compress.networks.outputs import output_loss

    alike = error = 0.0
    places = samples = 0
    compressed = compressed.eval().to(device)
    with torch.inference_mode():
        for batch in batches:
            inputs, mask = to_device(batch, device), attention_mask(batch)
            target, out = forward(original, inputs), forward(compressed, inputs)
            error += float(output_loss(out, target, attention_mask(inputs))) * batch_length(batch)
            samples += batch_length(batch)
            one, other = (real_tokens(out.float(), mask).reshape(-1, _width(out)) for out in (target, out))
            if classes:
                alike += float((one.argmax(dim=1) == other.argmax(dim=1)).sum())
            else:
                alike += float(functional.cosine_similarity(one, other, dim=1).double().sum())
            places += len(one)
    return Loss(drop=100 * (1 - alike / places), error=error / samples)


def _width(out: torch.Tensor) -> int:
    return out.shape[-1] if out.ndim in (2, 3) else out[0].numel()
