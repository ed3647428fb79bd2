"""How far a compressed network's outputs are from its original's."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from momos_compress.data.batches import Inputs, attention_mask, batch_length, real_tokens, to_device
from momos_compress.networks.forward import forward
from momos_compress.networks.outputs import output_loss


@dataclass(frozen=True)
class Degradation:
    """What compression took from a network; None where that is not measured.

    Attributes:
        drop: Points (per cent) lost of accuracy, of agreement with the original, or of the mean cosine.
        error: ``output_loss`` against the original's outputs.
    """

    drop: float | None = None
    error: float | None = None


def gives_classes(model: nn.Module) -> bool:
    """Whether the last dimension of a network's outputs holds scores of classes, or of a vocabulary's words."""
    if hasattr(model, "pretrained_cfg"):
        return int(getattr(model, "num_classes", 0)) > 1
    name = type(model).__name__  # transformers' heads: GPT2LMHeadModel, BertForMaskedLM
    return "LMHead" in name or "For" in name


def compare_outputs(
    original: nn.Module, compressed: nn.Module, batches: Iterable[Inputs], *, classes: bool, device: str
) -> Degradation:
    """Compare two networks on the same inputs; one batch's outputs are held at a time.

    Args:
        original: The network compared with, on ``device``.
        compressed: The network that is compared; it is put in eval mode and onto ``device``.
        batches: Inputs of both.
        classes: Whether outputs are scores: the drop is then of the share of samples, or tokens, where both rank the
            same class first, and else of the mean cosine.
        device: Where both run.

    Returns:
        The drop in points, and the mean output loss a sample.
    """
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
    return Degradation(drop=100 * (1 - alike / places), error=error / samples)


def _width(out: torch.Tensor) -> int:
    """Values of an output that are compared as one vector."""
    return out.shape[-1] if out.ndim in (2, 3) else out[0].numel()
