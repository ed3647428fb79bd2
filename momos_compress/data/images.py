"""Calibration inputs of image networks: images, transformed as for evaluation."""

import io
import math
import warnings
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from momos_compress.data.arrow_files import ARROW_SUFFIXES, column_values, image_columns, row_count
from momos_compress.data.dataset_files import data_files
from momos_compress.data.registry import DATASETS, ImageReader, open_dataset, preprocessing
from momos_compress.errors import MomosError, one_line

KEPT_BYTES = 512 * 2**20
"""Decoded images stay in memory where all of them take less, at a byte a value."""

EXPECTED = (
    "expected is a folder of images, a tar of one, or a data set with an image column as the datasets library saves it"
)


class ImageSource:
    """Images of a data set by position, in an order that depends on their names alone.

    wanted: how many will be taken at most, which decides whether decoded ones are kept.
    """

    noun = "image"

    def __init__(self, data: str, model: nn.Module, wanted: int) -> None:
        from timm.data import create_transform
        from torchvision.transforms import Normalize

        settings = preprocessing(model)
        self.data, self.network, self.shape = data, type(model).__name__, tuple(settings["input_size"])
        mean = settings["mean"]
        if len(mean) not in (1, self.shape[0]):
            raise MomosError(
                f"{self.network} takes {list(self.shape)}, and its mean is of {len(mean)} channels; give it a mean and "
                "std of as many as it takes"
            )
        self._images, _ = open_images(data, self.network, self.shape[0])
        # The last steps, to float and to the network's scale, are left to ``batch``: bytes take a quarter of the room.
        self._images.transform = create_transform(**settings, normalize=False)
        self._normalise = Normalize(mean, settings["std"])
        self._order: Sequence[int] = range(len(self._images))
        self._table, self.part = None, ""
        if isinstance(self._images, ImageReader):
            reader = self._images.reader
            if isinstance(reader, TableImages):
                self._table, self.part = reader, reader.part
            else:  # timm's natural order leaves "01" and "1" as the file system lists them
                self._order = sorted(self._order, key=lambda index: str(reader.filename(index, absolute=True)))
        self._keeps = min(wanted, len(self)) * math.prod(self.shape) < KEPT_BYTES

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
            yield pixels if self._keeps else index

    def batch(self, items: Sequence[Any]) -> torch.Tensor:
        """Items of ``read`` as the network takes them: (n, c, h, w) float32."""
        pixels = torch.stack([self._pixels(item) if isinstance(item, int) else item for item in items])
        scaled: torch.Tensor = self._normalise(pixels.to(torch.get_default_dtype()).div(255))
        return scaled

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


class TableImages:
    """A reader, as timm's are, of the image column of Parquet or Arrow files.

    Rows lie in groups that are read as one, so those of interest are fetched in one pass and held as they are encoded.
    """

    def __init__(self, files: Sequence[Path], part: str) -> None:
        self.files, self.part = files, part
        self._ends = list(accumulate(row_count(file) for file in files))
        self._encoded: dict[int, bytes | None] = {}

    def __len__(self) -> int:
        return self._ends[-1]

    def fetch(self, indices: Iterable[int]) -> None:
        """Hold the encoded images of these rows; those held before stay."""
        missing = sorted(set(indices) - set(self._encoded))
        for file, start, end in zip(self.files, (0, *self._ends), self._ends, strict=False):
            rows = [index - start for index in missing if start <= index < end]
            for row, value in column_values(file, partial(_image_column, file), rows):
                self._encoded[start + row] = None if value is None else value["bytes"]

    def forget_all_but(self, indices: set[int]) -> None:
        """Give up the encoded images of all other rows."""
        self._encoded = {index: encoded for index, encoded in self._encoded.items() if index in indices}

    def filename(self, index: int) -> str:
        """How an image is called in messages."""
        number = bisect_right(self._ends, index)
        return f"{self.files[number].name}, row {index - (0, *self._ends)[number] + 1}"

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        encoded = self._encoded[index]
        if not encoded:
            raise ValueError("the row holds no bytes of an image")
        return io.BytesIO(encoded), -1


def _image_column(file: Path, schema: Any) -> str:
    columns = image_columns(schema)
    if not columns:
        names = one_line(", ".join(schema.names), 120)
        raise MomosError(f"{file} has no column of images (its columns: {names}); {EXPECTED}")
    return columns[0]


def open_images(data: str, network: str, channels: int) -> tuple[Any, int | None]:
    """The data set that gives an image by its index, through ``transform``; and its number of classes, if known."""
    from timm.data.readers.img_extensions import get_img_extensions

    path = Path(data).expanduser()
    if data not in DATASETS and path.exists():
        tables = data_files(path, ARROW_SUFFIXES)
        if tables.files:
            reader = TableImages(tables.files, tables.part)
            if not len(reader):
                raise MomosError(f"{data}: holds no rows; {EXPECTED}")
            return ImageReader(reader, "L" if channels == 1 else "RGB"), None
        if path.is_file() and path.suffix != ".tar":
            raise MomosError(
                f"{data}: {network} takes images, and this is one {path.suffix or 'plain'} file; {EXPECTED}"
            )
        endings = get_img_extensions()
        if path.is_dir() and not any(file.suffix.lower() in endings for file in path.rglob("*")):
            raise MomosError(f"{data}: holds no images ({', '.join(endings)}), which {network} takes; {EXPECTED}")
    return open_dataset(data, channels)
