"""Images that a timm network trains on: decoded once, shifted or cropped anew every epoch."""

import math
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, default_collate

from momos_compress.data.image_reader import ImageReader
from momos_compress.data.images import KEPT_BYTES, open_images
from momos_compress.data.preprocessing import preprocessing
from momos_compress.errors import MomosError, one_line
from momos_compress.finetuning.epochs import seeded
from momos_compress.finetuning.samples import Place, Samples
from momos_compress.finetuning.settings import Augment

SMALL = 64
"""Least side of images that are cropped at random; smaller ones are shifted."""
CROP_SCALE = (0.35, 1.0)
"""Least and greatest share of an image's area in a random crop; timm's 0.08 is for training from scratch."""
SHIFT_SHARE = 8
"""Images are shifted by at most one part in this many of their side."""


class ImageKind:
    """Images as an image classifier of timm takes them.

    Args:
        model: The classifier.
        device: Where its inputs go.
    """

    def __init__(self, model: nn.Module, device: str) -> None:
        from torchvision.transforms import Normalize

        self.settings, self.network, self.device = preprocessing(model), type(model).__name__, device
        self.classes = int(getattr(model, "num_classes", 0))
        self._normalise = Normalize(self.settings["mean"], self.settings["std"])

    def open(self, data: str) -> Samples:
        """Open a registered data set, an image folder, a tar of one, or a table with a column of images."""
        dataset, classes = open_images(data, self.network, self.settings["input_size"][0])
        order = list(range(len(dataset)))
        if isinstance(dataset, ImageReader):
            order.sort(key=lambda index: str(dataset.reader.filename(index)))
        return Samples(data, "images", dataset, tuple(order), classes)

    def views(self, samples: Samples, *, augment: Augment = "none", seed: int = 0) -> "ImageViews":
        """Show images as uint8 (c, h, w)."""
        return ImageViews(samples, self.settings, self.network, augment=self._chosen(augment), seed=seed)

    def _chosen(self, augment: Augment) -> Augment:
        channels, *sides = self.settings["input_size"]
        if augment != "auto":
            return augment
        return "crop" if min(sides) >= SMALL else "shift-flip" if channels == 3 else "shift"

    def prepare(self, batch: torch.Tensor) -> torch.Tensor:
        """Scale (n, c, h, w) uint8 as the network takes it: float32 on its device."""
        # Channels last: convolutions on a CPU go a third faster, and what is computed is the same.
        scaled: torch.Tensor = self._normalise(batch.to(self.device).float().div(255))
        return scaled.contiguous(memory_format=torch.channels_last)


class ImageViews(Dataset[tuple[torch.Tensor, int]]):
    """Images as uint8 (c, h, w) with their classes, by place; decoded ones stay in memory if they are few.

    Args:
        samples: The images.
        settings: How the network takes images, from ``preprocessing``.
        network: What the network is called in messages.
        augment: How images are varied; not "auto".
        seed: Seed of the variation.
    """

    def __init__(
        self, samples: Samples, settings: dict[str, Any], network: str, *, augment: Augment, seed: int
    ) -> None:
        from timm.data import create_transform

        self.samples, self.network, self.seed, self.shape = samples, network, seed, tuple(settings["input_size"])
        self._random: Any = None
        if augment == "crop":  # of the image as it is, not of what evaluation makes of it
            self._plain = create_transform(
                self.shape,
                is_training=True,
                scale=CROP_SCALE,
                color_jitter=0,
                normalize=False,
                interpolation=settings["interpolation"],
            )
        else:
            self._plain = create_transform(**settings, normalize=False)
            if augment != "none":
                self._random = _shifts(self.shape, flip=augment == "shift-flip")
        few = len(samples.order) * math.prod(self.shape) < KEPT_BYTES
        self._kept: dict[int, torch.Tensor] | None = {} if few and augment != "crop" else None
        self._targets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.samples.order)

    def __getitem__(self, place: Place) -> tuple[torch.Tensor, int]:
        epoch, position = place
        index = self.samples.order[position]
        pixels = seeded(partial(self._view, index), self.seed, epoch, position)
        return pixels, self._targets[index]

    def collate(self, items: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Stack items to (n, c, h, w) uint8, and classes to (n,)."""
        pixels, targets = default_collate(items)
        return pixels, targets

    def _view(self, index: int) -> torch.Tensor:
        pixels = self._pixels(index)
        if self._random is not None:
            pixels = self._random(pixels)
        return pixels

    def _pixels(self, index: int) -> torch.Tensor:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        image, target = self.samples.data[index]
        try:
            pixels: torch.Tensor = self._plain(image)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise MomosError(f"{self.samples.name}: image {index} cannot be transformed ({one_line(error)})") from error
        if tuple(pixels.shape) != self.shape or pixels.dtype != torch.uint8:
            raise MomosError(
                f"{self.samples.name}: an image is {list(pixels.shape)} after timm's transform, and {self.network} "
                f"takes {list(self.shape)}; name images of that kind"
            )
        self._targets[index] = int(target)
        if self._kept is not None:
            self._kept[index] = pixels
        return pixels


def _shifts(shape: tuple[int, ...], *, flip: bool) -> Any:
    from torchvision.transforms import Compose, RandomCrop, RandomHorizontalFlip

    padding = max(1, min(shape[1:]) // SHIFT_SHARE)
    steps = [RandomCrop(shape[1:], padding=padding)]
    return Compose([*steps, RandomHorizontalFlip()] if flip else steps)
