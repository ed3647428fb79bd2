"""Data sets of labelled images, by a name of their own or by their place on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from momos_compress.errors import MomosError

if TYPE_CHECKING:
    pass

from PIL import Image
from torch.utils.data import Dataset

from momos_compress.errors import one_line

DATASETS: dict[str, Callable[[], Any]] = {}
"""Data sets with a name of their own: name -> function that gives (PIL image, class) items."""


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


def same_data(one: str, other: str) -> bool:
    """Whether two data sets are one, or one lies inside the other."""
    if one == other:
        return True
    if one in DATASETS or other in DATASETS:
        return False
    paths = [Path(name).expanduser().resolve() for name in (one, other)]
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])


def check_disjoint(data: str | None, calibrate: str | None) -> None:
    """MomosError where what is measured on would be what the motifs were fitted to."""
    if data is not None and calibrate is not None and same_data(data, calibrate):
        raise MomosError(
            f"--data {data} and --calibrate {calibrate} are the same images, and what motifs are fitted to is not "
            "measured on; name others, or drop --data to measure agreement on images held out"
        )
