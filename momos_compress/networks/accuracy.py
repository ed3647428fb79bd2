"""Accuracy on labelled images, through timm's own data set, transform and loader code."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from momos_compress.common.progress import Progress, silent
from momos_compress.data.preprocessing import preprocessing
from momos_compress.data.registry import open_dataset
from momos_compress.errors import MomosError, one_line


@dataclass(frozen=True)
class Accuracy:
    """How often a network names the right class.

    Attributes:
        top1: Per cent of the images whose class has the highest score.
        top5: Per cent of the images whose class is among the five highest scores.
        images: Number of images.
    """

    top1: float
    top5: float
    images: int


def evaluate(
    model: nn.Module,
    data: str,
    *,
    batch_size: int = 256,
    device: str = "cpu",
    workers: int = 0,
    progress: Progress = silent,
) -> Accuracy:
    """Measure the accuracy of an image classifier of timm.

    Args:
        model: The network; it is put in eval mode and onto ``device``.
        data: A registered data set, a folder of folders named by class, or a tar of one.
        batch_size: Images of a batch.
        device: Where the network runs, as torch names it.
        workers: Processes that decode images; 0 decodes them in this one.
        progress: Told images done, as stage "accuracy".

    Returns:
        Top-1 and top-5 accuracy in per cent.

    Raises:
        MomosError: The network is not timm's, the data have more classes than it has outputs, or an image cannot be
            read.

    Examples:
        >>> import momos_compress as mc, momos_zoo  # momos_zoo brings the data set "digits" along
        >>> found = mc.evaluate(mc.load_model("digits.momos.safetensors"), "digits")
        >>> found.images, 50 < found.top1 <= found.top5 <= 100
        (450, True)
    """
    from timm.data import create_loader

    if not hasattr(model, "pretrained_cfg"):
        raise MomosError(f"evaluate needs an image classifier of timm, and this is {type(model).__name__}")
    settings = preprocessing(model)
    dataset, classes = open_dataset(data, settings["input_size"][0])
    outputs = int(getattr(model, "num_classes", 0))
    if classes is not None and classes > outputs:
        raise MomosError(f"{data} has {classes} classes and {type(model).__name__} only {outputs} outputs")
    loader = create_loader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=False,
        use_prefetcher=False,
        **settings,
    )
    top1 = top5 = seen = 0
    model = model.eval().to(device)
    with torch.inference_mode():
        for images, targets in _batches(loader, data):
            ranked = model(images.to(device)).topk(min(5, outputs), dim=1).indices.cpu()
            hits = ranked == targets[:, None]
            top1 += int(hits[:, :1].sum())
            top5 += int(hits.sum())
            seen += len(targets)
            progress("accuracy", len(targets), len(dataset))
    return Accuracy(100 * top1 / seen, 100 * top5 / seen, seen)


def _batches(loader: Any, data: str) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from loader
    except (OSError, RuntimeError, ValueError) as error:
        raise MomosError(f"{data}: an image does not fit ({one_line(error)})") from error
