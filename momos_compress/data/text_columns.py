"""The texts of a data set's files, and their labels: which column of a table holds them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from momos_compress.data.arrow_files import ARROW_SUFFIXES, column_names, column_values, string_columns
from momos_compress.data.text_rows import csv_rows, json_rows, read_lines
from momos_compress.errors import MomosError, one_line

TEXT_COLUMNS = ("text", "sentence", "content")
"""Columns that are taken as the text by their name; elsewhere it is the first column of strings."""

LABEL_COLUMNS = ("label", "labels", "class")
"""Columns that are taken as the class by their name."""


def texts(file: Path) -> Iterator[str]:
    """Read the texts of one file, one at a time and without empty ones.

    Args:
        file: A text file, whose lines are the texts, or a table with a column of strings.

    Raises:
        MomosError: The file is not sound, or has no column of texts.
    """
    suffix = file.suffix.lower()
    if suffix in ARROW_SUFFIXES:
        values: Iterable[Any] = (value for _, value in column_values(file, partial(_arrow_column, file)))
    elif suffix in (".jsonl", ".json"):
        values = _text_values(file, json_rows(file))
    elif suffix == ".csv":
        values = _text_values(file, csv_rows(file))
    else:
        values = read_lines(file)
    for value in values:
        text = value.strip() if isinstance(value, str) else ""
        if text:
            yield text


def labels_of(files: Sequence[Path]) -> list[int] | None:
    """Read the class of every text of these files, in the order of ``texts``.

    Returns:
        Numbers as they stand, or the place of a word among all words in their order; None where the files have no
        column of labels.

    Raises:
        MomosError: Some of the texts have a label and others none, or a number is negative.
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
        rows = csv_rows(file) if suffix == ".csv" else json_rows(file)
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
