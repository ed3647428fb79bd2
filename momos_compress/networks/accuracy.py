"""Accuracy on labelled images, through timm's own data set, transform and loader code."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from momos_compress.errors import MomosError, one_line

DATASETS: dict[str, Callable[[], Any]] = {}
"""Data sets with a name of their own: name -> function that gives (PIL image, class) items."""


@dataclass(frozen=True)
class Accuracy:
    """top1 and top5 in per cent over this many images."""

    top1: float
    top5: float
    images: int


def register_dataset(name: str, dataset: Callable[[], Any]) -> None:
    """Make ``name`` a data set; a name that is taken raises."""
    if name in DATASETS:
        raise ValueError(f"data set {name!r} is registered already")
    DATASETS[name] = dataset


def open_dataset(data: str, channels: int = 3) -> tuple[Any, int | None]:
    """A data set and its number of classes: a registered name, an image folder (class/image), or a tar of one.

    channels: what the images of a folder or tar are converted to, 1 (grey) or 3 (RGB).
    """
    from timm.data import create_dataset

    if data in DATASETS:
        dataset = DATASETS[data]()
        return dataset, len(set(dataset.targets))
    path = Path(data).expanduser()
    if not path.exists():
        names = ", ".join(sorted(DATASETS))
        raise MomosError(f"no image folder or tar {data!r}; a data set by name is one of: {names}")
    try:
        dataset = create_dataset("", root=str(path))
        images, classes = len(dataset), _classes(dataset.reader)
    except Exception as error:  # readers raise what a strange folder or archive leads them to
        raise MomosError(f"{data}: not an image folder or a tar of one ({one_line(error)})") from error
    if images == 0:
        raise MomosError(f"{data}: holds no images; expected are folders named by class, with images in them")
    return ImageReader(dataset.reader, "L" if channels == 1 else "RGB"), classes


def _classes(reader: Any) -> int | None:
    """How many classes timm's reader found; None where it does not tell."""
    found = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    return len(found) if found else None


def preprocessing(model: nn.Module) -> dict[str, Any]:
    """How a timm network wants its images: what timm's create_loader and create_transform take for evaluation."""
    from timm.data import resolve_data_config

    config = resolve_data_config({}, model=model)
    return {key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct")}


class ImageReader(Dataset[Any]):
    """timm's image reader, strictly: an image that cannot be read raises, where timm's own data set takes the next.

    mode: what PIL converts each image to, "RGB" or "L".
    """

    def __init__(self, reader: Any, mode: str = "RGB") -> None:
        self.reader, self.mode, self.transform = reader, mode, None

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        name = self.reader.filename(index)
        try:
            file, target = self.reader[index]
            image = Image.open(file).convert(self.mode)
        except Exception as error:  # decoders raise what a strange file leads them to
            raise MomosError(f"{name}: an image that cannot be read ({one_line(error, 120)})") from error
        return (image if self.transform is None else self.transform(image)), target


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
