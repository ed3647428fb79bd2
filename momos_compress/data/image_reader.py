"""Images from a folder or a tar, through timm's readers."""

from collections.abc import Callable
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from momos_compress.errors import MomosError, one_line


class ImageReader(Dataset[Any]):
    """A data set over a reader of timm that raises for an image it cannot read, where timm's takes the next image.

    Attributes:
        reader: A reader as timm's: a length, (open file, class) items, and a ``filename`` for messages.
        mode: What PIL converts each image to, "RGB" or "L".
        transform: None, or what is called with each image.
    """

    def __init__(self, reader: Any, mode: str = "RGB") -> None:
        self.reader, self.mode = reader, mode
        self.transform: Callable[[Any], Any] | None = None

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


def image_mode(channels: int) -> str:
    """What PIL calls images of so many channels: "L" for 1, else "RGB"."""
    return "L" if channels == 1 else "RGB"


def class_count(reader: Any) -> int | None:
    """How many classes a reader of timm found; None where it does not tell."""
    found = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    return len(found) if found else None
