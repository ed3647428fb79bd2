"""The metrics of training runs: a CSV with a column ``step``, and columns of numbers."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from momos_compress.errors import MomosError, one_line
from momos_compress.trace.files import RunFiles

STEP, RUN = "step", "run"


@dataclass(frozen=True)
class Metrics:
    """One run's metrics.

    Attributes:
        names: Their names in the order of columns.
        values: Step -> metric -> its value, where there is a finite one.
    """

    names: tuple[str, ...]
    values: Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class _Sheet:
    """A CSV as text: its header, and for each row its line number and cells."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def column(self, name: str) -> int:
        if name not in self.header:
            columns = one_line(", ".join(self.header), 120)
            raise MomosError(f"{str(self.path)!r} has no column {name!r}; its header must name it (it has {columns})")
        return self.header.index(name)


def read_metrics(runs: Sequence[RunFiles], metrics: str, chosen: Sequence[str]) -> list[Metrics]:
    """Read the metrics of each run.

    Args:
        runs: The runs.
        metrics: A bare name is a file in each run's directory or, where no run has it, one in the working directory;
            anything else is the path of one CSV, which needs a column ``run`` where there are several runs.
        chosen: Columns to read; empty takes every column of numbers.

    Raises:
        MomosError: Something is wrong with a file; names it and the line.
    """
    path = Path(metrics).expanduser()
    inside = [run.directory / path for run in runs]
    if path.name == metrics and (any(each.is_file() for each in inside) or not path.is_file()):
        for run, each in zip(runs, inside, strict=True):
            if not each.is_file():
                raise MomosError(f"{run.name}: no file {str(each)!r}; name the CSV of metrics with `metrics`")
        return [_metrics(_read(each), chosen) for each in inside]
    if not path.is_file():
        raise MomosError(f"no file {metrics!r}; `metrics` takes a name in each run's directory, or the path of a CSV")
    sheet = _read(path)
    if len(runs) > 1 and RUN not in sheet.header:
        raise MomosError(f"{metrics!r} has no column {RUN!r}; one CSV for {len(runs)} runs needs the run's name in it")
    return [_metrics(_rows_of(sheet, run.name) if RUN in sheet.header else sheet, chosen) for run in runs]


def _read(path: Path) -> _Sheet:
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(cell.strip() for cell in next(reader, ()))
            for row in reader:
                if any(cell.strip() for cell in row):
                    if len(row) != len(header):
                        raise MomosError(
                            f"{str(path)!r}, line {reader.line_num}: {len(row)} cells under a header of {len(header)}; "
                            "mend that line"
                        )
                    rows.append((reader.line_num, tuple(cell.strip() for cell in row)))
    except (ValueError, csv.Error) as error:
        raise MomosError(f"{str(path)!r} is no CSV in UTF-8 ({one_line(error, 80)})") from error
    if len(set(header)) != len(header):
        raise MomosError(f"{str(path)!r}: two columns have the same name; rename one")
    return _Sheet(path, header, tuple(rows))


def _rows_of(sheet: _Sheet, run: str) -> _Sheet:
    at = sheet.column(RUN)
    rows = tuple((line, cells) for line, cells in sheet.rows if cells[at] == run)
    if not rows:
        raise MomosError(f"{str(sheet.path)!r} has no row whose {RUN!r} is {run!r}; it must be the directory's name")
    return _Sheet(sheet.path, sheet.header, rows)


def _metrics(sheet: _Sheet, chosen: Sequence[str]) -> Metrics:
    at = sheet.column(STEP)
    columns = {name: sheet.column(name) for name in chosen or _number_columns(sheet)}
    if not columns:
        raise MomosError(f"{str(sheet.path)!r} has no column of numbers beside {STEP!r}; name another with `metrics`")
    values: dict[int, dict[str, float]] = {}
    seen: dict[tuple[int, str], int] = {}
    for line, cells in sheet.rows:
        step = _step(sheet, line, cells[at])
        row = values.setdefault(step, {})
        for name, column in columns.items():
            if not cells[column]:
                continue  # a logger may write its figures of one step in several rows
            if (step, name) in seen:
                raise MomosError(
                    f"{str(sheet.path)!r}: lines {seen[step, name]} and {line} both give {name} of step {step}; "
                    "remove one"
                )
            seen[step, name] = line
            value = _number(cells[column])
            if value is None:
                raise MomosError(
                    f"{str(sheet.path)!r}, line {line}: {name} is {one_line(cells[column], 40)!r}, no number; mend it, "
                    "or choose columns with `metric`"
                )
            if math.isfinite(value):
                row[name] = value
    return Metrics(tuple(columns), values)


def _number_columns(sheet: _Sheet) -> list[str]:
    """The columns with a number in them: a cell of text among numbers is a mistake, a column of text is none."""
    return [
        name
        for column, name in enumerate(sheet.header)
        if name not in (STEP, RUN, "") and any(_number(cells[column]) is not None for _, cells in sheet.rows)
    ]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _step(sheet: _Sheet, line: int, cell: str) -> int:
    value = _number(cell)  # 12.0 is what pandas makes of 12 beside an empty cell
    if value is None or not value.is_integer() or value < 0:
        raise MomosError(f"{str(sheet.path)!r}, line {line}: the step {one_line(cell, 40)!r} is no whole number")
    return int(value)
