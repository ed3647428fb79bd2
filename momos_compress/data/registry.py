"""Data sets of labelled images: the table of those with a name of their own, and whatever lies on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from momos_compress.data.image_reader import ImageReader, class_count, image_mode
from momos_compress.errors import MomosError, one_line


class LabelledImages(Protocol):
    """A data set of labelled images.

    Attributes:
        transform: None, or what is called with each image; timm's loader sets it.
    """

    transform: Callable[[Any], Any] | None

    @property
    def targets(self) -> Sequence[int]:
        """The class of each item, whole numbers from 0 on."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A PIL image, or what ``transform`` makes of it, and its class ``targets[index]``."""
        ...


DATASETS: dict[str, Callable[[], LabelledImages]] = {}
"""Data sets by name: a function without arguments that gives a data set nobody else holds."""


def register_dataset(name: str, dataset: Callable[[], LabelledImages]) -> None:
    """Add a data set to ``DATASETS``.

    Args:
        name: What it is called instead of a path.
        dataset: Gives the data set; called anew for every use, for each use sets a transform.

    Raises:
        ValueError: The name is taken.

    Examples:
        >>> import momos_compress as mc
        >>> from PIL import Image
        >>> class Grey(list):
        ...     targets, transform = [0, 1], None
        >>> dark, light = Image.new("L", (8, 8), 60), Image.new("L", (8, 8), 200)
        >>> mc.register_dataset("grey", lambda: Grey([(dark, 0), (light, 1)]))
        >>> open_dataset("grey")[1]
        2
        >>> del DATASETS["grey"]
    """
    if name in DATASETS:
        raise ValueError(f"data set {name!r} is registered already")
    DATASETS[name] = dataset


def open_dataset(data: str, channels: int = 3) -> tuple[Any, int | None]:
    """Open labelled images.

    Args:
        data: A name of ``DATASETS``, a folder of folders named by class, or a tar of one.
        channels: What the images of a folder or tar are converted to, 1 (grey) or 3 (RGB).

    Returns:
        The data set, and its number of classes or None where that is not known.

    Raises:
        MomosError: There is no such data set, or it holds no images.
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
        found = create_dataset("", root=str(path))
        images, classes = len(found), class_count(found.reader)
    except Exception as error:  # readers raise what a strange folder or archive leads them to
        raise MomosError(f"{data}: not an image folder or a tar of one ({one_line(error)})") from error
    if images == 0:
        raise MomosError(f"{data}: holds no images; expected are folders named by class, with images in them")
    return ImageReader(found.reader, image_mode(channels)), classes


def same_data(one: str, other: str) -> bool:
    """Whether two data sets are one, or one lies inside the other."""
    if one == other:
        return True
    if one in DATASETS or other in DATASETS:
        return False
    paths = [Path(name).expanduser().resolve() for name in (one, other)]
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])


def check_disjoint(data: str | None, calibrate: str | None) -> None:
    """Refuse to measure on what motifs are fitted to.

    Raises:
        MomosError: Both are given, and they are the same data.
    """
    if data is not None and calibrate is not None and same_data(data, calibrate):
        raise MomosError(
            f"`data={data!r}` and `calibrate={calibrate!r}` are the same images, and what motifs are fitted to is not "
            "measured on; name others, or drop `data` to measure agreement on images held out"
        )
