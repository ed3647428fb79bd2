"""The images of training runs: what a task trains on, how it is split, decoded and augmented."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor
from torch.nn import functional

from momos_compress.data.registry import open_dataset
from momos_compress.errors import MomosError
from momos_zoo.digits import Digits

SPLIT_SEED = 0


@dataclass(frozen=True)
class Task:
    """What to train on: defaults of its runs, the share held out, and the augmentation (shifts in pixels, flips)."""

    architecture: str
    epochs: int
    images: int
    validation_share: float
    shift: int
    flip: bool


TASKS = {
    "digits": Task("digits_resnet8", epochs=40, images=1078, validation_share=0.2, shift=1, flip=False),
    "cifar10": Task("cifar_resnet20", epochs=16, images=5000, validation_share=0.05, shift=4, flip=True),
}


@dataclass(frozen=True)
class Images:
    """Decoded images: pixels (n, c, h, w) uint8, targets (n,) int64."""

    pixels: Tensor
    targets: Tensor


def load(task_name: str, data: str | None, images: int) -> tuple[Images, Images]:
    """Training and validation images of a task."""
    task = TASKS[task_name]
    dataset = Digits("train") if data is None else open_dataset(data)[0]
    parts = split(len(dataset), images, task.validation_share)
    train, validation = (decode(dataset, indices, task.architecture) for indices in parts)
    return train, validation


def split(total: int, images: int, share: float) -> tuple[list[int], list[int]]:
    """Indices of ``images`` training images and of the ``share`` held out, from one seeded order; they never meet."""
    held_out = round(total * share)
    if not 0 < images <= total - held_out:
        raise MomosError(f"--images must be 1 to {total - held_out} here ({held_out} of {total} are held out)")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()
    return order[held_out : held_out + images], order[:held_out]


def decode(dataset: Any, indices: list[int], architecture: str) -> Images:
    """These images of a data set, decoded once; MomosError where they are not of the network's size or classes."""
    config = timm.get_pretrained_cfg(architecture)
    channels, height, width = config.input_size
    decoded, targets = [], []
    for index in indices:
        image, target = dataset[index]
        pixels = np.asarray(image)
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        if pixels.shape != (height, width, channels) or target >= config.num_classes:
            raise MomosError(
                f"image {index}: {list(pixels.shape)} of class {target} does not fit {architecture}, which takes "
                f"{[height, width, channels]} and {config.num_classes} classes"
            )
        decoded.append(pixels)
        targets.append(target)
    return Images(torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2), torch.tensor(targets))


def augment(pixels: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image shifted at random by up to ``shift`` pixels over a black border, every second one mirrored."""
    count, _, height, width = pixels.shape
    padded = functional.pad(pixels, (shift,) * 4)
    down, right = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator)
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    if flip:
        columns = torch.where(torch.rand(count, 1, generator=generator) < 0.5, columns.flip(1), columns)
    return padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 -> float32, as timm's transform does it."""
    return (pixels / 255 - mean) / std
