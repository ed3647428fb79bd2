"""Data sets as files: what the ``datasets`` library saves and the hub hands out, read without that library.

A directory may hold several kinds of files and several splits. One kind is taken, the best described first, and of
splits the one for training where it is told from others by its name.
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from momos_compress.data.arrow_files import ARROW_SUFFIXES, column_names, column_values, string_columns
from momos_compress.errors import MomosError, one_line

TEXT_SUFFIXES = (*ARROW_SUFFIXES, ".jsonl", ".json", ".csv", ".txt")
"""Files that hold texts, in the order of preference; all but the last are rows with named columns."""

EXPECTED_TEXTS = (
    f"expected is a text file with one sample a line, or a data set directory with {', '.join(TEXT_SUFFIXES)} files"
)

TEXT_COLUMNS = ("text", "sentence", "content")
"""Columns that are taken as the text by their name; elsewhere it is the first column of strings."""

LABEL_COLUMNS = ("label", "labels", "class")
"""Columns that are taken as the class by their name."""

NOT_DATA = re.compile(
    r"(dataset_infos?|dataset_dict|state|config)\.json|metadata\..*|cache-.*\.arrow|README.*|LICENSE.*"
)
TRAINING = re.compile(r"(?<![a-z])train(ing)?(?![a-z])", re.IGNORECASE)
OTHER_SPLIT = re.compile(r"(?<![a-z])(test(ing)?|dev|val(id(ation)?)?|eval(uation)?)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class DataFiles:
    """Files of one kind in the order of their names; part says what they are of all there are ("" for all)."""

    files: tuple[Path, ...]
    part: str = ""


def data_files(path: Path, suffixes: Sequence[str]) -> DataFiles:
    """The files of a data set: the file itself where it is of these kinds, or those of one kind in a directory."""
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


def texts(file: Path) -> Iterator[str]:
    """The texts of one file, without empty ones: the lines of a text file, or the text column of a table's rows."""
    suffix = file.suffix.lower()
    if suffix in ARROW_SUFFIXES:
        values: Iterable[Any] = (value for _, value in column_values(file, partial(_arrow_column, file)))
    elif suffix in (".jsonl", ".json"):
        values = _text_values(file, _json_rows(file))
    elif suffix == ".csv":
        values = _text_values(file, _csv_rows(file))
    else:
        values = _lines(file)
    for value in values:
        text = value.strip() if isinstance(value, str) else ""
        if text:
            yield text


def labels_of(files: Sequence[Path]) -> list[int] | None:
    """The classes of what ``texts`` gives of these files, in its order; None where they have no column of labels.

    Numbers are classes as they stand, words are numbered in their order. MomosError where a text has none.
    """
    found = [label for file in files for label in _labels(file)]
    if not found or all(label is None for label in found):
        return None
    words = sorted({str(label) for label in found})
    numbers = all(str(word).lstrip("-").isdigit() for word in words)
    if None in found or (numbers and min(int(word) for word in words) < 0):
        raise MomosError(f"{files[0]}: some of its texts have no label; give all of them one, or none")
    return [int(label) if numbers else words.index(str(label)) for label in found]


def _labels(file: Path) -> Iterator[Any]:
    suffix = file.suffix.lower()
    if suffix in ARROW_SUFFIXES:
        columns = [name for name in column_names(file) if name.lower() in LABEL_COLUMNS]
        if not columns:
            return
        values = (value for _, value in column_values(file, partial(_arrow_column, file)))
        labels = (value for _, value in column_values(file, lambda schema: columns[0]))
        pairs: Iterable[tuple[Any, Any]] = zip(values, labels, strict=True)
    elif suffix in (".jsonl", ".json", ".csv"):
        rows = _csv_rows(file) if suffix == ".csv" else _json_rows(file)
        kept = list(rows)
        names = [name for name in (kept[0] if kept else ()) if name.lower() in LABEL_COLUMNS]
        if not names:
            return
        pairs = zip(_text_values(file, kept), (row.get(names[0]) for row in kept), strict=True)
    else:
        return
    for value, label in pairs:
        if isinstance(value, str) and value.strip():
            yield label


def _arrow_column(file: Path, schema: Any) -> str:
    return _choose(file, string_columns(schema), schema.names)


def _choose(file: Path, strings: Sequence[str], columns: Iterable[str]) -> str:
    """The column to take as the text, of those that hold strings."""
    named = {column.lower(): column for column in reversed(strings)}
    for name in TEXT_COLUMNS:
        if name in named:
            return named[name]
    if not strings:
        raise MomosError(
            f"{file} has no column of texts (its columns: {one_line(', '.join(columns), 120)}); name the column of "
            f"strings {TEXT_COLUMNS[0]!r}"
        )
    return strings[0]


def _text_values(file: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    column = None
    for row in rows:
        if column is None:
            # A named column counts even where this row leaves it empty.
            strings = [
                name
                for name, value in row.items()
                if (isinstance(value, str) and not _is_number(value)) or name.lower() in TEXT_COLUMNS
            ]
            column = _choose(file, strings, row)
        yield row.get(column)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lines(file: Path, newline: str | None = None) -> Iterator[str]:
    """Lines of a UTF-8 file; MomosError where it is something else."""
    try:
        with file.open("rb") as raw:
            if b"\0" in raw.read(2**16):
                raise MomosError(f"{file}: not a text file; {EXPECTED_TEXTS}, in UTF-8")
        with file.open(encoding="utf-8-sig", newline=newline) as lines:
            yield from lines
    except UnicodeDecodeError as error:
        raise MomosError(f"{file}: not text in UTF-8 ({one_line(error, 120)}); {EXPECTED_TEXTS}") from error
    except OSError as error:
        raise MomosError(f"{file}: cannot be read ({one_line(error.strerror or error)})") from error


def _json_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of a file of JSON lines, or of a JSON array of objects."""
    lines = _lines(file)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            yield from (_row(file, row, f"row {n}") for n, row in enumerate(_parse(file, line + "".join(lines)), 1))
            return
        yield _row(file, _parse(file, line, f"line {number}"), f"line {number}")


def _parse(file: Path, text: str, where: str = "the array") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MomosError(
            f"{file}: {where} is not JSON ({one_line(error, 120)}); expected is an object a line, or an array of them"
        ) from error


def _row(file: Path, row: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise MomosError(f"{file}: {where} is no JSON object of named columns")
    return row


def _csv_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    limit = csv.field_size_limit(sys.maxsize)  # a text may be longer than the 128 KiB that the module allows
    try:
        yield from csv.DictReader(_lines(file, newline=""))
    except csv.Error as error:
        raise MomosError(f"{file}: not sound CSV ({one_line(error)})") from error
    finally:
        csv.field_size_limit(limit)
