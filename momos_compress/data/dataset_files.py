"""Data sets as files: what the ``datasets`` library saves and the hub hands out, found without that library.

A directory may hold several kinds of files and several splits. One kind is taken, the best described first, and of
splits the one for training where it is told from others by its name.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from momos_compress.data.arrow_files import ARROW_SUFFIXES

TEXT_SUFFIXES = (*ARROW_SUFFIXES, ".jsonl", ".json", ".csv", ".txt")
"""Files that hold texts, in the order of preference; all but the last are rows with named columns."""

EXPECTED_TEXTS = (
    f"expected is a text file with one sample a line, or a data set directory with {', '.join(TEXT_SUFFIXES)} files"
)
"""How messages describe data of texts."""

NOT_DATA = re.compile(
    r"(dataset_infos?|dataset_dict|state|config)\.json|metadata\..*|cache-.*\.arrow|README.*|LICENSE.*"
)
"""Names of files that lie beside the data."""

TRAINING = re.compile(r"(?<![a-z])train(ing)?(?![a-z])", re.IGNORECASE)
"""In the path of a file of the training split."""

OTHER_SPLIT = re.compile(r"(?<![a-z])(test(ing)?|dev|val(id(ation)?)?|eval(uation)?)(?![a-z])", re.IGNORECASE)
"""In the path of a file of any other split."""


@dataclass(frozen=True)
class DataFiles:
    """Files of one kind.

    Attributes:
        files: In the order of their names.
        part: What they are of all there are: "" for all, or "the training split of ".
    """

    files: tuple[Path, ...]
    part: str = ""


def data_files(path: Path, suffixes: Sequence[str]) -> DataFiles:
    """Find the files of a data set.

    Args:
        path: A file, taken where it is of these kinds, or a directory that is searched with all below it.
        suffixes: The kinds of files, lower case, in the order of preference; files of one kind alone are taken.

    Returns:
        The files, none where there are none of these kinds.
    """
    if path.is_file():
        return DataFiles((path,) if path.suffix.lower() in suffixes else ())
    found: dict[str, list[Path]] = {suffix: [] for suffix in suffixes}
    for file in path.rglob("*"):
        below = file.relative_to(path)
        hidden = any(part.startswith(".") for part in below.parts)
        if file.suffix.lower() in found and not hidden and not NOT_DATA.fullmatch(file.name) and file.is_file():
            found[file.suffix.lower()].append(below)
    names = sorted(next(filter(None, found.values()), []))
    training = [name for name in names if TRAINING.search(name.as_posix())]
    if training and any(OTHER_SPLIT.search(name.as_posix()) for name in names):
        return DataFiles(tuple(path / name for name in training), "the training split of ")
    return DataFiles(tuple(path / name for name in names))
