"""A sweep: every combination of capacities, block sizes and rate weights, measured alike; resumable."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from momos_compress.common.atomic import atomic_writer
from momos_compress.common.progress import Progress, silent
from momos_compress.common.version import version
from momos_compress.data.registry import check_disjoint
from momos_compress.errors import MomosError, one_line
from momos_compress.fitting.methods import HESSIAN
from momos_compress.networks.fidelity import FIGURES
from momos_compress.planning.choices import check_compression
from momos_compress.planning.plan import Plan, plan
from momos_compress.search.bench import Bench, Tried, open_bench, try_settings
from momos_compress.search.sweep_rows import SweepPoint, SweepRow, read_rows, write_rows
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint

CSV, FIGURE = "sweep.csv", "sweep.svg"


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        rows: Of the points asked for, in order.
        kept: How many of them were there already.
        csv: The file of all rows.
        figure: The figure; None where there is none, and ``warnings`` say why.
        warnings: What the user should know.
    """

    rows: tuple[SweepRow, ...]
    kept: int
    csv: Path
    figure: Path | None
    warnings: tuple[str, ...]


def sweep(
    checkpoint: Checkpoint,
    settings: Settings,
    directory: Path,
    *,
    c: Sequence[float],
    s: Sequence[int],
    rate_weights: Sequence[float],
    data: str | None = None,
    progress: Progress = silent,
    observe: Callable[[SweepRow], None] = lambda row: None,
) -> Sweep:
    """Compress with every combination of settings, and measure every file alike.

    sweep.csv is written row by row and sweep.svg in the end. A row that is in the file already is not computed again,
    but a failed one is. A point that fails is a row, and the others go on.

    Args:
        checkpoint: The weights, such as ``open_checkpoint`` gives.
        settings: All other choices; ``c``, ``k``, ``s`` and ``rate_weight`` are not looked at.
        directory: Where the files go; it is made if it is not there.
        c: Capacities.
        s: Block sizes.
        rate_weights: Rate weights; more than one only where motifs are calibrated.
        data: Labelled images that accuracy is measured on. Without, outputs are compared with the original's on
            calibration samples that are held out; without those, weights are compared.
        progress: Told how far each stage is.
        observe: Told every new row.

    Returns:
        The rows, and where they are.

    Raises:
        MomosError: if nothing can run: a wrong setting, or a directory of another sweep.

    Examples:
        >>> from pathlib import Path
        >>> import momos_compress as mc, momos_zoo
        >>> weights, settings = mc.open_checkpoint("digits"), mc.Settings(calibrate="none", bdm=False)
        >>> found = mc.sweep(weights, settings, Path("sweep"), c=[0.01, 0.05], s=[4], rate_weights=[3.0])
        >>> [row.k for row in found.rows]
        [186, 931]
    """
    check_disjoint(data, settings.calibrate)
    wanted = sweep_points(settings, c, s, rate_weights)
    work = _first_plan(checkpoint, settings, wanted)
    if len(set(rate_weights)) > 1 and work.settings.method != HESSIAN:
        raise MomosError("`rate_weight` is for motifs fitted to what layers compute; give `calibrate='DATA'`")
    check_disjoint(data, work.settings.calibrate)
    with _only_here(directory):
        path, run = directory / CSV, _digest(checkpoint, settings, data)
        rows = read_rows(path)
        if any(row.run != run for row in rows.values()):
            raise MomosError(f"{path} is of another model, data or settings; choose another directory with `output`")
        left = [point for point in wanted if point not in rows or rows[point].status != "ok"]
        warnings: tuple[str, ...] = ()
        if left:
            bench = open_bench(checkpoint, work, data, progress)
            settings = bench.settled(settings)
            warnings = (
                *work.selection.warnings,
                *bench.warnings,
                *(bench.network.data.warnings if bench.network else ()),
            )
            for number, point in enumerate(left, 1):
                named = _numbered(f"{number}/{len(left)}", progress)
                row = _row(checkpoint, settings, point, directory, bench, named)
                rows[point] = dataclasses.replace(row, run=run)
                write_rows(path, list(rows.values()))
                observe(rows[point])
        found = [rows[point] for point in wanted]
        figure, problem = _draw(checkpoint.source, [row for row in found if row.status == "ok"], directory / FIGURE)
    warnings = (*checkpoint.warnings, *warnings, *([problem] if problem else []))
    return Sweep(tuple(found), len(wanted) - len(left), path, figure, warnings)


def sweep_points(
    settings: Settings, c: Sequence[float], s: Sequence[int], rate_weights: Sequence[float]
) -> list[SweepPoint]:
    """Combine the values, each combination once and in order; MomosError for a value that cannot be."""
    for name, values in (("c", c), ("s", s), ("rate_weight", rate_weights)):
        if not values:
            raise MomosError(f"`{name}` is empty; give one value or more, separated by commas")
    wanted = list(dict.fromkeys(SweepPoint(*values) for values in itertools.product(c, s, rate_weights)))
    for point in wanted:
        check_compression(point.settings(settings))
    return wanted


def _digest(checkpoint: Checkpoint, settings: Settings, data: str | None) -> str:
    own = dataclasses.replace(settings, c=None, k=None, s=1, rate_weight=1.0, bdm=False)
    record = [checkpoint.provenance, dataclasses.asdict(own), data, version()]
    return hashlib.sha256(json.dumps(record, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _first_plan(checkpoint: Checkpoint, settings: Settings, wanted: Sequence[SweepPoint]) -> Plan:
    """The plan of the first point that can be planned; MomosError where none can."""
    problem: MomosError | None = None
    for point in wanted:
        try:
            return plan(checkpoint, point.settings(settings))
        except MomosError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _numbered(number: str, progress: Progress) -> Progress:
    return lambda stage, done, total: progress(f"{number}: {stage}", done, total)


def _row(
    checkpoint: Checkpoint,
    settings: Settings,
    point: SweepPoint,
    directory: Path,
    bench: Bench,
    progress: Progress,
) -> SweepRow:
    """Try one point."""
    start, path = time.perf_counter(), directory / ".sweep.momos.safetensors"
    try:
        tried = try_settings(checkpoint, point.settings(settings), path, bench, progress)
    except (MomosError, MemoryError, RuntimeError) as error:  # torch's own lack of memory is a RuntimeError
        row = SweepRow(*point, status="failed", failure=one_line(error, 300) or type(error).__name__)
    else:
        row = _measured(point, tried, bench)
    return dataclasses.replace(row, seconds=round(time.perf_counter() - start, 3))


def _measured(point: SweepPoint, tried: Tried, bench: Bench) -> SweepRow:
    report, drop, meter = tried.report, tried.drop, bench.meter
    fidelity = report.fidelity
    figures = {} if fidelity is None else {name: getattr(fidelity, name) for name in (*FIGURES, "measured_on")}
    return SweepRow(
        *point,
        status="ok",
        k=report.k,
        file_bytes=report.file_bytes,
        ratio=report.ratio,
        bits_per_weight=report.bits_per_weight,
        score=None if meter is None or drop is None else meter.before - drop,
        drop=drop,
        distortion=report.relative_distortion,
        measured=meter.what if meter else "",
        **figures,
    )


@contextlib.contextmanager
def _only_here(directory: Path) -> Iterator[None]:
    """Make the directory, and hold it for this process alone."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".lock", timeout=0):
            yield
    except Timeout:
        raise MomosError(
            f"{directory} is in use by another sweep; wait for it, or choose another with `output`"
        ) from None
    except OSError as error:
        raise MomosError(
            f"{directory} cannot be used ({error.strerror or error}); choose another with `output`"
        ) from error


def _draw(source: str, rows: Sequence[SweepRow], path: Path) -> tuple[Path | None, str | None]:
    """The figure, or why there is none."""
    if not rows:
        return None, None
    try:
        from momos_compress.drawing.render import render_svg
        from momos_compress.search.sweep_figure import Axis, rate_chart
    except ImportError as error:
        if error.name and error.name.partition(".")[0] in ("altair", "vl_convert"):
            return None, f"no figure: it needs {error.name}; pip install 'momos-compress[report]'"
        raise
    if all(row.measured.startswith("top-1") for row in rows):
        axis = Axis("score", f"{one_line(rows[0].measured, 80)} (%)")
    elif all(row.kl is not None for row in rows):
        axis = Axis("kl", "KL divergence from the original's outputs (nats)", logarithmic=True)
    elif all(row.mean_cosine is not None for row in rows):
        axis = Axis("drop", "points lost of the mean cosine with the original's outputs", logarithmic=True)
    else:
        axis = Axis("distortion", "squared error of the weights over their energy", logarithmic=True)
    with atomic_writer(path) as file:
        file.write(render_svg(rate_chart([dataclasses.asdict(row) for row in rows], source, axis)))
    return path, None
