"""Rows of text files: lines, JSON and CSV."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from momos_compress.data.dataset_files import EXPECTED_TEXTS
from momos_compress.errors import MomosError, one_line


def read_lines(file: Path, newline: str | None = None) -> Iterator[str]:
    """Read the lines of a UTF-8 file, one at a time.

    Args:
        file: The file; a byte-order mark is left out.
        newline: What ends a line, as for ``open``.

    Raises:
        MomosError: The file is no text in UTF-8, or cannot be read.
    """
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


def json_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """Read the rows of a file of JSON lines, or of one JSON array of objects.

    Raises:
        MomosError: Something in it is no JSON object; the message gives its place.
    """
    lines = read_lines(file)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            yield from (_row(file, row, f"row {n}") for n, row in enumerate(_parse(file, line + "".join(lines)), 1))
            return
        yield _row(file, _parse(file, line, f"line {number}"), f"line {number}")


def csv_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """Read the rows of a CSV file whose first line names the columns.

    Raises:
        MomosError: The file is not sound CSV, or no text.
    """
    limit = csv.field_size_limit(sys.maxsize)  # a text may be longer than the module's 128 KiB
    try:
        yield from csv.DictReader(read_lines(file, newline=""))
    except csv.Error as error:
        raise MomosError(f"{file}: not sound CSV ({one_line(error)})") from error
    finally:
        csv.field_size_limit(limit)


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
