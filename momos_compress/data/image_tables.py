"""Images in a column of Parquet or Arrow files."""

import io
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

from momos_compress.data.arrow_files import column_values, image_columns, row_count
from momos_compress.errors import MomosError, one_line

EXPECTED_IMAGES = (
    "expected is a folder of images, a tar of one, or a data set with an image column as the datasets library saves it"
)
"""How messages describe data of images."""


class TableImages:
    """A reader, as timm's are, of the image column of Parquet or Arrow files.

    Rows lie in groups that are read as one, so those of interest are fetched in one pass and held as they are encoded.

    Attributes:
        files: The files, in order.
        part: What they are of the data set: "" for all, or "the training split of ".
    """

    def __init__(self, files: Sequence[Path], rows: Sequence[int], part: str) -> None:
        """Read ``files``, of so many rows each."""
        self.files, self.part = files, part
        self._ends = list(accumulate(rows))
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
        """What an image is called in messages."""
        number = bisect_right(self._ends, index)
        return f"{self.files[number].name}, row {index - (0, *self._ends)[number] + 1}"

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        encoded = self._encoded[index]
        if not encoded:
            raise ValueError("the row holds no bytes of an image")
        return io.BytesIO(encoded), -1


def open_table(files: Sequence[Path], part: str) -> TableImages:
    """Open the images of these files, reading no more than how many rows they have."""
    return TableImages(files, [row_count(file) for file in files], part)


def _image_column(file: Path, schema: Any) -> str:
    columns = image_columns(schema)
    if not columns:
        names = one_line(", ".join(schema.names), 120)
        raise MomosError(f"{file} has no column of images (its columns: {names}); {EXPECTED_IMAGES}")
    return columns[0]
