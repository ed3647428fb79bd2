"""Calibration inputs of image networks: images, transformed as for evaluation."""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.data.arrow_files import ARROW_SUFFIXES
from momos_compress.data.dataset_files import data_files
from momos_compress.data.image_reader import ImageReader, image_mode
from momos_compress.data.image_tables import EXPECTED_IMAGES, TableImages, open_table
from momos_compress.data.preprocessing import preprocessing
from momos_compress.data.registry import DATASETS, open_dataset
from momos_compress.errors import MomosError, one_line

KEPT_BYTES = 512 * 2**20
"""Decoded images stay in memory where all of them take less, at a byte a value."""


class ImagePool:
    """Images of a data set by position, in an order that depends on their names alone.

    Attributes:
        noun: "image".
        part: What of the data they are: "" for all, or "the training split of ".
    """

    noun = "image"

    def __init__(
        self,
        images: Any,
        normalise: Any,
        *,
        data: str,
        network: str,
        shape: tuple[int, ...],
        order: Sequence[int],
        kept: bool,
    ) -> None:
        """Take images in an order.

        Args:
            images: (pixels uint8, class) items by index.
            normalise: From pixels in 0..1 to the network's scale.
            data: What the data are called in messages.
            network: What the network is called in messages.
            shape: (channels, height, width) of what the network takes.
            order: The index of each position.
            kept: Whether decoded images are held, or decoded anew for each batch.
        """
        self._images, self._normalise, self._order, self._kept = images, normalise, order, kept
        self.data, self.network, self.shape = data, network, shape
        reader = getattr(images, "reader", None)
        self._table = reader if isinstance(reader, TableImages) else None
        self.part = "" if self._table is None else self._table.part

    def __len__(self) -> int:
        return len(self._order)

    def read(self, positions: Sequence[int]) -> Iterator[torch.Tensor | int | MomosError]:
        """For each position what ``batch`` takes (pixels, or an index to decode again), or why it cannot be read."""
        indices = [self._order[position] for position in positions]
        if self._table is not None:
            self._table.fetch(indices)
        for index in indices:
            try:
                pixels = self._pixels(index)
            except MomosError as error:
                yield error
                continue
            self._check(pixels)
            yield pixels if self._kept else index

    def batch(self, items: Sequence[Any]) -> torch.Tensor:
        """Items of ``read`` as the network takes them: (n, c, h, w) float32."""
        pixels = torch.stack([self._pixels(item) if isinstance(item, int) else item for item in items])
        scaled: torch.Tensor = self._normalise(pixels.to(torch.get_default_dtype()).div(255))
        return scaled

    def lengths(self, items: Sequence[Any]) -> tuple[int, ...]:
        """None: all images of a network are alike."""
        return ()

    def settle(self, items: Iterable[Any]) -> None:
        """Only these items of ``read`` are needed from now on."""
        if self._table is not None:
            self._table.forget_all_but({item for item in items if isinstance(item, int)})

    def _pixels(self, index: int) -> torch.Tensor:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels: torch.Tensor = self._images[index][0]
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise MomosError(f"image {index}: cannot be transformed ({one_line(error, 120)})") from error
        return pixels

    def _check(self, pixels: torch.Tensor) -> None:
        if tuple(pixels.shape) != self.shape or pixels.dtype != torch.uint8:
            dtype = str(pixels.dtype).removeprefix("torch.")
            raise MomosError(
                f"{self.data}: an image is {list(pixels.shape)} {dtype} after timm's transform, and {self.network} "
                f"takes {list(self.shape)} uint8; name images of that kind"
            )


def open_image_pool(data: str, model: nn.Module, wanted: int) -> ImagePool:
    """Open the images that a network of timm is calibrated on.

    Args:
        data: A name of ``DATASETS``, an image folder, a tar of one, or a data set with an image column.
        model: The network, which says how images are transformed.
        wanted: How many will be taken at most, which decides whether decoded ones are held.

    Raises:
        MomosError: There are no images, or the network's mean and shape disagree.
    """
    from timm.data import create_transform
    from torchvision.transforms import Normalize

    settings = preprocessing(model)
    network, shape, mean = type(model).__name__, tuple(settings["input_size"]), settings["mean"]
    if len(mean) not in (1, shape[0]):
        raise MomosError(
            f"{network} takes {list(shape)}, and its mean is of {len(mean)} channels; give it a mean and std of as "
            "many as it takes"
        )
    images, _ = open_images(data, network, shape[0])
    # The last steps, to float and to the network's scale, are left to ``batch``: bytes take a quarter of the room.
    images.transform = create_transform(**settings, normalize=False)
    order: Sequence[int] = range(len(images))
    if isinstance(images, ImageReader) and not isinstance(images.reader, TableImages):
        # timm's natural order leaves "01" and "1" as the file system lists them.
        order = sorted(order, key=lambda index: str(images.reader.filename(index, absolute=True)))
    return ImagePool(
        images,
        Normalize(mean, settings["std"]),
        data=data,
        network=network,
        shape=shape,
        order=order,
        kept=min(wanted, len(order)) * math.prod(shape) < KEPT_BYTES,
    )


def open_images(data: str, network: str, channels: int) -> tuple[Any, int | None]:
    """Open images, labelled or not.

    Args:
        data: A name of ``DATASETS``, an image folder, a tar of one, or a data set with an image column.
        network: What the network is called in messages.
        channels: What images are converted to, 1 (grey) or 3 (RGB).

    Returns:
        The data set, whose items go through its ``transform``, and its number of classes or None where that is unknown.

    Raises:
        MomosError: There are no images.
    """
    from timm.data.readers.img_extensions import get_img_extensions

    path = Path(data).expanduser()
    if data not in DATASETS and path.exists():
        tables = data_files(path, ARROW_SUFFIXES)
        if tables.files:
            reader = open_table(tables.files, tables.part)
            if not len(reader):
                raise MomosError(f"{data}: holds no rows; {EXPECTED_IMAGES}")
            return ImageReader(reader, image_mode(channels)), None
        if path.is_file() and path.suffix != ".tar":
            raise MomosError(
                f"{data}: {network} takes images, and this is one {path.suffix or 'plain'} file; {EXPECTED_IMAGES}"
            )
        endings = get_img_extensions()
        if path.is_dir() and not any(file.suffix.lower() in endings for file in path.rglob("*")):
            raise MomosError(
                f"{data}: holds no images ({', '.join(endings)}), which {network} takes; {EXPECTED_IMAGES}"
            )
    return open_dataset(data, channels)
