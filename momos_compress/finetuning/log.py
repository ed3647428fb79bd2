"""What a run writes down: a row of metrics an epoch, and one record of the whole."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from momos_compress.common.atomic import atomic_writer
from momos_compress.common.csv_text import csv_bytes
from momos_compress.errors import MomosError, one_line

METRICS, RECORD = "metrics.csv", "run.json"


class Log:
    """The rows of metrics.csv in a run's directory, written anew and whole after every epoch."""

    def __init__(self, directory: Path) -> None:
        self.path, self.rows = directory / METRICS, list[dict[str, Any]]()

    def read(self, epochs: int | None) -> None:
        """Take up the rows that are there.

        Args:
            epochs: How many epochs to take up, None for all; rows of an epoch that was not kept are dropped.

        Raises:
            MomosError: if the file is none of a run's.
        """
        if not self.path.is_file():
            return
        with self.path.open(newline="") as file:
            try:
                rows = [row for row in csv.DictReader(file) if epochs is None or int(row["epoch"]) <= epochs]
            except (KeyError, ValueError, csv.Error) as error:
                raise MomosError(f"{self.path}: not the metrics of a run ({one_line(error)})") from error
        self.rows = [{key: _number(value) for key, value in row.items()} for row in rows]

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the row of an epoch, and write the file."""
        self.rows.append(dict(row))
        # A run that goes on may measure more, or less, than before.
        names = dict.fromkeys(name for row in self.rows for name in row)
        with atomic_writer(self.path) as file:
            file.write(csv_bytes([{name: row.get(name) for name in names} for row in self.rows]))


def _number(text: str) -> Any:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def write_record(directory: Path, record: Mapping[str, Any]) -> None:
    """Write run.json: whole, or it stays as it was."""
    with atomic_writer(directory / RECORD) as file:
        file.write((json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def read_record(directory: Path) -> dict[str, Any] | None:
    """Read run.json; None where there is none, MomosError where it is not a run's."""
    path = directory / RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        record["identity"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MomosError(f"{path}: not the record of a run ({one_line(error)}); choose another directory") from error
    return record
