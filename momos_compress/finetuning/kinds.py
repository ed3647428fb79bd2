"""Which networks are trained here, and how each takes its samples."""

from torch import nn

from momos_compress.errors import MomosError
from momos_compress.finetuning.images import ImageKind
from momos_compress.finetuning.samples import SampleKind
from momos_compress.finetuning.texts import TextKind


def kind_of(model: nn.Module, device: str, source: str | None) -> SampleKind:
    """Find how a network takes its samples.

    Args:
        model: The network.
        device: Where its inputs go.
        source: Where it came from, for its tokenizer.

    Raises:
        MomosError: if it is neither an image classifier of timm nor a sequence classifier of transformers.
    """
    if hasattr(model, "pretrained_cfg"):
        return ImageKind(model, device)
    if type(model).__name__.endswith("ForSequenceClassification"):
        return TextKind(model, device, source)
    raise MomosError(
        f"finetune trains image classifiers of timm and sequence classifiers of transformers, and this is "
        f"{type(model).__name__}"
    )


def check_alike(teacher: nn.Module, student: nn.Module) -> None:
    """Check that two networks take the same inputs and give the same outputs; MomosError where they do not."""
    kinds = [kind_of(model, "cpu", None) for model in (teacher, student)]
    for what, (other, own) in (
        ("outputs", [kind.classes for kind in kinds]),
        ("input size", [list(kind.settings["input_size"]) if isinstance(kind, ImageKind) else [] for kind in kinds]),
    ):
        if own != other:
            raise MomosError(
                f"the teacher's {what}: {other}, the file's network's: {own}; name the network that it was made from"
            )
