"""A sweep: every combination of capacities, block sizes and rate weights, measured alike; resumable."""

import contextlib
import csv
import dataclasses
import hashlib
import io
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from momos_compress.common.atomic import atomic_writer
from momos_compress.common.csv_text import csv_bytes
from momos_compress.common.version import version
from momos_compress.compression.pipeline import Prepared, Progress
from momos_compress.data.registry import check_disjoint
from momos_compress.errors import MomosError, one_line
from momos_compress.fitting.methods import METHODS
from momos_compress.networks.meters import Meter
from momos_compress.planning.plan import Plan, plan, resolve
from momos_compress.search.budget import prepare, try_settings
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint

CSV, FIGURE = "sweep.csv", "sweep.svg"
Combination = tuple[float, int, float]
"""c, s, rate weight."""


@dataclass(frozen=True)
class SweepRow:
    """One combination. A failed one has its failure and nothing measured.

    k: motifs in the file. score: the accuracy, agreement or cosine left, in points, of what ``measured`` says, and drop
    the points lost. output_error: ``output_loss`` against the original. distortion: squared error of the weights over
    their energy. run: digest of model, data and all other settings.
    """

    c: float
    s: int
    rate_weight: float
    status: str
    k: int | None = None
    file_bytes: int | None = None
    ratio: float | None = None
    bits_per_weight: float | None = None
    score: float | None = None
    drop: float | None = None
    output_error: float | None = None
    distortion: float | None = None
    seconds: float | None = None
    measured: str = ""
    run: str = ""
    failure: str = ""

    @property
    def combination(self) -> Combination:
        """What was asked for."""
        return self.c, self.s, self.rate_weight


@dataclass(frozen=True)
class Sweep:
    """rows: of the combinations asked for, in order. figure: None where there is none; warnings say why."""

    rows: tuple[SweepRow, ...]
    kept: int
    csv: Path
    figure: Path | None
    warnings: tuple[str, ...]


def run_sweep(
    checkpoint: Checkpoint,
    settings: Settings,
    directory: Path,
    *,
    c: Sequence[float],
    s: Sequence[int],
    rate_weights: Sequence[float],
    data: str | None = None,
    progress: Progress | None = None,
    observe: Callable[[SweepRow], None] = lambda row: None,
) -> Sweep:
    """Try every combination, and write ``sweep.csv`` row by row and ``sweep.svg`` into ``directory``.

    data: labelled images for accuracy; without, outputs on calibration samples held out are compared with the
    original's; without those, weights. A row that is in the file already is not computed again, but a failed one is.
    Combinations that fail are rows. MomosError where nothing can run: a wrong setting, another sweep's directory.
    """
    tell: Progress = progress or (lambda stage, done, total: None)
    check_disjoint(data, settings.calibrate)
    wanted = combinations(settings, c, s, rate_weights)
    work = _first_plan(checkpoint, settings, wanted)
    if len(set(rate_weights)) > 1 and not METHODS[str(work.settings.method)].rates:
        raise MomosError("--rate-weight is for motifs fitted to what layers compute; give --calibrate DATA")
    check_disjoint(data, work.settings.calibrate)
    with _only_here(directory):
        path, run = directory / CSV, _digest(checkpoint, settings, data)
        rows = read_rows(path)
        if any(row.run != run for row in rows.values()):
            raise MomosError(f"{path} is of another model, data or settings; choose another directory with -o")
        left = [one for one in wanted if one not in rows or rows[one].status != "ok"]
        warnings: tuple[str, ...] = ()
        if left:
            prepared, meter = prepare(checkpoint, work, data, tell)
            warnings = (*work.selection.warnings, *(prepared.data.warnings if prepared else ()))
            for number, one in enumerate(left, 1):
                row = _row(checkpoint, settings, one, directory, prepared, meter, run, f"{number}/{len(left)}", tell)
                rows[one] = row
                _write(path, list(rows.values()))
                observe(row)
        found = [rows[one] for one in wanted]
        figure, problem = _draw(checkpoint.source, [row for row in found if row.status == "ok"], directory / FIGURE)
    warnings = (*checkpoint.warnings, *warnings, *([problem] if problem else []))
    return Sweep(tuple(found), len(wanted) - len(left), path, figure, warnings)


def combinations(
    settings: Settings, c: Sequence[float], s: Sequence[int], rate_weights: Sequence[float]
) -> list[Combination]:
    """Each once, in order; MomosError for a value that cannot be."""
    for name, values in (("--c", c), ("--s", s), ("--rate-weight", rate_weights)):
        if not values:
            raise MomosError(f"{name} is empty; give one value or more, separated by commas")
    wanted = list(dict.fromkeys(itertools.product(c, s, rate_weights)))
    for one in wanted:
        resolve(_settings(settings, one))
    return wanted


def read_rows(path: Path) -> dict[Combination, SweepRow]:
    """The rows of a sweep's file, none where there is no file; MomosError where it is another file."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_parsed(record) for record in csv.DictReader(io.StringIO(file.read()))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MomosError(f"{path}: not the rows of a sweep ({one_line(error, 80)}); move it away") from error
    return {row.combination: row for row in rows}


_WHOLE, _WORDS = ("s", "k", "file_bytes"), ("status", "measured", "run", "failure")


def _parsed(record: dict[str, Any]) -> SweepRow:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(SweepRow):
        text = record[field.name]
        if field.name in _WORDS:
            values[field.name] = text
        else:
            values[field.name] = None if text == "" else (int if field.name in _WHOLE else float)(text)
    if values["status"] not in ("ok", "failed") or None in (values["c"], values["s"], values["rate_weight"]):
        raise ValueError("a row without its settings")
    return SweepRow(**values)


def _write(path: Path, rows: Sequence[SweepRow]) -> None:
    with atomic_writer(path) as file:
        file.write(csv_bytes([dataclasses.asdict(row) for row in rows]))


def _settings(settings: Settings, one: Combination) -> Settings:
    c, s, rate_weight = one
    return dataclasses.replace(settings, c=c, k=None, s=s, rate_weight=rate_weight)


def _digest(checkpoint: Checkpoint, settings: Settings, data: str | None) -> str:
    own = dataclasses.replace(settings, c=None, k=None, s=1, rate_weight=1.0, bdm=False)
    record = [checkpoint.provenance, dataclasses.asdict(own), data, version()]
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _first_plan(checkpoint: Checkpoint, settings: Settings, wanted: Sequence[Combination]) -> Plan:
    """The plan of the first combination that can be planned; MomosError where none can."""
    problem: MomosError | None = None
    for one in wanted:
        try:
            return plan(checkpoint, _settings(settings, one))
        except MomosError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _row(
    checkpoint: Checkpoint,
    settings: Settings,
    one: Combination,
    directory: Path,
    prepared: Prepared | None,
    meter: Meter | None,
    run: str,
    number: str,
    tell: Progress,
) -> SweepRow:
    row, start = SweepRow(*one, status="failed", run=run), time.perf_counter()
    try:
        _, report, loss = try_settings(
            checkpoint,
            _settings(settings, one),
            directory / ".sweep.momos.safetensors",
            prepared,
            meter,
            lambda stage, done, total: tell(f"{number}: {stage}", done, total),
        )
    except (MomosError, MemoryError, RuntimeError) as error:  # torch's own lack of memory is a RuntimeError
        words = one_line(error, 300) or type(error).__name__
        return dataclasses.replace(row, failure=words, seconds=round(time.perf_counter() - start, 3))
    return dataclasses.replace(
        row,
        status="ok",
        k=report.k,
        file_bytes=report.file_bytes,
        ratio=report.ratio,
        bits_per_weight=report.bits_per_weight,
        score=None if meter is None or loss.drop is None else meter.before - loss.drop,
        drop=loss.drop,
        output_error=None if meter is None else loss.error,
        distortion=report.relative_distortion,
        measured=meter.what if meter else "",
        seconds=round(time.perf_counter() - start, 3),
    )


@contextlib.contextmanager
def _only_here(directory: Path) -> Iterator[None]:
    """Make the directory, and hold it for this process alone."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".lock", timeout=0):
            yield
    except Timeout:
        raise MomosError(f"{directory} is in use by another sweep; wait for it, or choose another with -o") from None
    except OSError as error:
        raise MomosError(f"{directory} cannot be used ({error.strerror or error}); choose another with -o") from error


def _draw(source: str, rows: Sequence[SweepRow], path: Path) -> tuple[Path | None, str | None]:
    """The figure, or why there is none."""
    if not rows:
        return None, None
    try:
        from momos_compress.drawing.render import render_svg
        from momos_compress.search.sweep_figure import rate_chart
    except ImportError as error:
        if error.name and error.name.partition(".")[0] in ("altair", "vl_convert"):
            return None, f"no figure: it needs {error.name}; pip install 'momos-compress[report]'"
        raise
    if all(row.measured.startswith("top-1") for row in rows):
        axis = ("score", f"{one_line(rows[0].measured, 80)} (%)", False)
    elif all(row.output_error is not None for row in rows):
        axis = ("output_error", "output error", True)
    else:
        axis = ("distortion", "squared error of the weights over their energy", True)
    with atomic_writer(path) as file:
        file.write(render_svg(rate_chart([dataclasses.asdict(row) for row in rows], source, axis)))
    return path, None
