"""Images to train on, to choose by, and to report on: three sets that never meet.

Which images a batch holds, and how each is shifted, depend on the seed, the epoch and the image alone: not on how many
workers or processes there are, nor on whether a run was interrupted.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from momos_compress.accuracy import ImageReader, preprocessing
from momos_compress.calibration.images import KEPT_BYTES, open_images
from momos_compress.errors import MomosError, one_line
from momos_compress.fidelity import same_data
from momos_compress.finetune.settings import Augment

SMALL = 64
"""Networks that take smaller images see them shifted; others see random crops, resized."""
CROP_SCALE = (0.35, 1.0)
"""Share of an image's area that a random crop holds: gentler than timm's 0.08 for training from scratch."""
SHIFT_SHARE = 8
"""Images are shifted by at most this part of their side."""


@dataclass(frozen=True)
class Images:
    """Images by index in an order that depends on their names alone, and what they are called in messages.

    classes: how many there are; None or one: they count as not labelled.
    """

    name: str
    dataset: Any
    order: tuple[int, ...]
    classes: int | None

    @property
    def labelled(self) -> bool:
        """Whether their classes can be learnt."""
        return (self.classes or 0) > 1


@dataclass(frozen=True)
class Splits:
    """Images to train on, to choose the best epoch by, and (or None) to report on."""

    train: Images
    validation: Images
    test: Images | None


def open_split(data: str, channels: int, network: str) -> Images:
    """All images of a data set; MomosError where there are none."""
    dataset, classes = open_images(data, network, channels)
    order = list(range(len(dataset)))
    if isinstance(dataset, ImageReader):
        order.sort(key=lambda index: str(dataset.reader.filename(index)))
    return Images(data, dataset, tuple(order), classes)


def open_splits(
    train: str, validation: str | float, test: str | None, model: nn.Module, *, seed: int, labels: bool
) -> Splits:
    """The three sets. validation: data, or the share of ``train`` that is held out, drawn with ``seed``.

    labels: whether classes are learnt, which they must then have. Raises MomosError where sets meet, are empty, or do
    not fit the network.
    """
    channels, network = preprocessing(model)["input_size"][0], type(model).__name__
    named = [("--data", train), ("--validation", validation), ("--test", test)]
    given = [(option, name) for option, name in named if isinstance(name, str)]
    for i, (option, name) in enumerate(given):
        for other, second in given[i + 1 :]:
            if same_data(name, second):
                raise MomosError(f"{option} {name} and {other} {second} are the same images; what is reported on, "
                                 "chosen by and trained on must not meet")  # fmt: skip
    every = open_split(train, channels, network)
    if isinstance(validation, str):
        held_out = open_split(validation, channels, network)
    else:
        count = max(1, round(len(every.order) * validation))
        if len(every.order) - count < 1:
            raise MomosError(f"{train} has {len(every.order)} images, too few to hold out {validation:.0%} of them")
        mixed = torch.randperm(len(every.order), generator=torch.Generator().manual_seed(seed)).tolist()
        order = [every.order[position] for position in mixed]
        held_out = Images(f"{count:,} images of {train}", every.dataset, tuple(order[:count]), every.classes)
        every = Images(train, every.dataset, tuple(order[count:]), every.classes)
    report = None if test is None else open_split(test, channels, network)
    outputs = int(getattr(model, "num_classes", 0))
    for images in filter(None, (every, held_out, report)):
        _check_classes(images, outputs, network, needed=labels or images is report)
    return Splits(every, held_out, report)


def _check_classes(images: Images, outputs: int, network: str, *, needed: bool) -> None:
    if not images.labelled:
        if needed:
            raise MomosError(
                f"{images.name}: its images have {'one class' if images.classes else 'no classes'}, and labels are "
                "needed here; name a folder with one folder a class, or use --loss distil"
            )
    elif images.classes != outputs:
        raise MomosError(
            f"{images.name} has {images.classes} classes and {network} {outputs} outputs; train on the classes that it "
            "was made for"
        )


class Views(Dataset[tuple[torch.Tensor, int]]):
    """Images as uint8 (c, h, w) with their classes, by (epoch, position); decoded ones stay in memory if they are few.

    augmentation: what is done at random to an image; seeded by (seed, epoch, position).
    """

    def __init__(self, images: Images, model: nn.Module, *, augment: Augment = "none", seed: int = 0) -> None:
        from timm.data import create_transform

        settings = preprocessing(model)
        self.images, self.seed, self.shape = images, seed, tuple(settings["input_size"])
        self.network = type(model).__name__
        self._plain = create_transform(**settings, normalize=False)
        self._random: Any = None
        self._whole = augment == "crop"
        if self._whole:  # of the image as it is, not of what evaluation makes of it
            self._plain = create_transform(
                self.shape, is_training=True, scale=CROP_SCALE, color_jitter=0, normalize=False,
                interpolation=settings["interpolation"],
            )  # fmt: skip
        elif augment != "none":
            self._random = _shifts(self.shape, flip=augment == "shift-flip")
        few = len(images.order) * self.shape[0] * self.shape[1] * self.shape[2] < KEPT_BYTES
        self._kept: dict[int, torch.Tensor] | None = {} if few and not self._whole else None
        self._targets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.images.order)

    def __getitem__(self, place: tuple[int, int]) -> tuple[torch.Tensor, int]:
        epoch, position = place
        number = random.Random(f"{self.seed}/{epoch}/{position}").getrandbits(63)
        index = self.images.order[position]
        state, own = torch.get_rng_state(), random.getstate()
        torch.default_generator.manual_seed(number)
        random.seed(number)  # timm's random crops draw from it
        try:
            pixels = self._pixels(index)
            if self._random is not None:
                pixels = self._random(pixels)
        finally:
            torch.set_rng_state(state)
            random.setstate(own)
        return pixels, self._targets[index]

    def _pixels(self, index: int) -> torch.Tensor:
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        image, target = self.images.dataset[index]
        try:
            pixels: torch.Tensor = self._plain(image)
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise MomosError(f"{self.images.name}: image {index} cannot be transformed ({one_line(error)})") from error
        if tuple(pixels.shape) != self.shape or pixels.dtype != torch.uint8:
            raise MomosError(
                f"{self.images.name}: an image is {list(pixels.shape)} after timm's transform, and {self.network} "
                f"takes {list(self.shape)}; name images of that kind"
            )
        self._targets[index] = int(target)
        if self._kept is not None:
            self._kept[index] = pixels
        return pixels


def chosen_augment(augment: Augment, model: nn.Module) -> Augment:
    """What "auto" stands for: crops of large images, shifts of small ones, mirrored where they have colours."""
    channels, *sides = preprocessing(model)["input_size"]
    if augment != "auto":
        return augment
    return "crop" if min(sides) >= SMALL else "shift-flip" if channels == 3 else "shift"


def _shifts(shape: tuple[int, ...], *, flip: bool) -> Any:
    from torchvision.transforms import Compose, RandomCrop, RandomHorizontalFlip

    padding = max(1, min(shape[1:]) // SHIFT_SHARE)
    steps = [RandomCrop(shape[1:], padding=padding)]
    return Compose([*steps, RandomHorizontalFlip()] if flip else steps)


class EpochOrder(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, position): a new order every epoch, from ``start`` batches on where a run goes on.

    What is left over after whole batches is left out of the epoch; fewer images than one batch make one.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, shuffle: bool = True) -> None:
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.epoch = self.start = 0

    def __len__(self) -> int:
        whole = self.count // self.batch_size if self.shuffle else -(-self.count // self.batch_size)
        return max(1, whole) - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = list(range(self.count))
        if self.shuffle:
            number = random.Random(f"{self.seed}/{self.epoch}").getrandbits(63)
            order = torch.randperm(self.count, generator=torch.Generator().manual_seed(number)).tolist()
        for batch in range(self.start, self.start + len(self)):
            places = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, position) for position in places]


def loader(views: Views, order: Sampler[list[tuple[int, int]]], *, workers: int = 0) -> DataLoader[Any]:
    """Batches of uint8 images (n, c, h, w) and classes (n,)."""
    return DataLoader(views, batch_sampler=order, num_workers=workers)


class Normalise:
    """uint8 images -> the network's scale, float32 on its device."""

    def __init__(self, model: nn.Module, device: str) -> None:
        from torchvision.transforms import Normalize

        settings = preprocessing(model)
        self._normalise, self.device = Normalize(settings["mean"], settings["std"]), device

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) uint8 -> float32."""
        scaled: torch.Tensor = self._normalise(pixels.to(self.device).float().div(255))
        return scaled


def described(images: Images) -> dict[str, Any]:
    """What of a set goes into a run's record."""
    return {"data": Path(images.name).name, "images": len(images.order), "classes": images.classes}
