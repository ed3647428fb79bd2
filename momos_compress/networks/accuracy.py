"""Accuracy on labelled images, through timm's own data set, transform and loader code."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from momos_compress.data.preprocessing import preprocessing
from momos_compress.data.registry import open_dataset
from momos_compress.errors import MomosError, one_line


@dataclass(frozen=True)
class Accuracy:
    """top1 and top5 in per cent over this many images."""

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
    progress: Callable[[int, int], None] | None = None,
) -> Accuracy:
    """Top-1 and top-5 of a timm network on ``data``; progress is told images done and images in all.

    Raises MomosError where the data's classes are more than the network's, or the network is not timm's.
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
            if progress is not None:
                progress(seen, len(dataset))
    return Accuracy(100 * top1 / seen, 100 * top5 / seen, seen)


def _batches(loader: Any, data: str) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from loader
    except (OSError, RuntimeError, ValueError) as error:
        raise MomosError(f"{data}: an image does not fit ({one_line(error)})") from error
