"""Compression to a budget: the file's size, or what may be lost, is given, and the settings are searched for."""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from momos_compress.common.stages import Stages
from momos_compress.compression.pipeline import Fitted, Prepared, Progress, compress, fit_checkpoint
from momos_compress.compression.report import Report
from momos_compress.data.registry import DATASETS, check_disjoint
from momos_compress.errors import MomosError
from momos_compress.fitting.methods import METHODS
from momos_compress.networks.fidelity import Degradation
from momos_compress.networks.load import load_model, model_of
from momos_compress.networks.meters import HELD_OUT, Meter, accuracy_meter, output_meter
from momos_compress.planning.estimate import bytes_beside
from momos_compress.planning.plan import Plan, output_path, plan
from momos_compress.search.bisection import RATE_WEIGHTS, Budget, Point, Sizes, order, search
from momos_compress.settings import DEFAULT_C, NO_CALIBRATION, SYNTHETIC, Settings
from momos_compress.sources.checkpoint import Checkpoint

BLOCK_SIZES = (4, 2, 1)


@dataclass(frozen=True)
class BudgetReport:
    """What a search found. report: of the file written. points: all settings tried, in order; chosen: which it was.

    met: whether the file is within the budget. measured: what a drop is a drop of; None where nothing was measured.
    """

    report: Report
    budget: Budget
    points: tuple[Point, ...]
    chosen: int
    measured: str | None
    warnings: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether the file is within the budget."""
        return self.points[self.chosen].met

    def to_json(self) -> dict[str, Any]:
        """The report's record, with the search beside it."""
        return self.report.to_json() | {
            "target": {name: value for name, value in vars(self.budget).items() if value is not None},
            "target_met": self.met,
            "measured": self.measured,
            "points": [vars(point) for point in self.points],
            "chosen": self.chosen,
            "warnings": list(self.warnings),
        }


def check_budget(settings: Settings, budget: Budget, data: str | None) -> None:
    """MomosError for a budget that settings or data do not go with; before anything is loaded."""
    budget.check()
    if settings.c is not None or settings.k is not None:
        given = "--c" if settings.c is not None else "--k"
        raise MomosError(f"give either {given} or a target: a target chooses the number of motifs")
    check_disjoint(data, settings.calibrate)
    if budget.drop is not None and data is None and settings.calibrate in (None, NO_CALIBRATION, SYNTHETIC):
        names = ", ".join(sorted(DATASETS))
        raise MomosError(
            "--max-drop needs data to measure on: --data with labelled images, or --calibrate with inputs without "
            f"labels, of which some are held out; by name there are: {names}"
        )


def compress_within(
    checkpoint: Checkpoint,
    settings: Settings,
    budget: Budget,
    output: str | Path | None = None,
    *,
    data: str | None = None,
    block_sizes: Sequence[int] = BLOCK_SIZES,
    rate_weights: tuple[float, float] = RATE_WEIGHTS,
    stages: Stages | None = None,
    progress: Progress | None = None,
) -> BudgetReport:
    """Search for the settings that serve ``budget`` best, and write the file of those.

    settings: without c and k; their s and rate_weight are not looked at. data: labelled images that accuracy is
    measured on. Without, outputs are compared with the original's on calibration samples held out from the fit, and
    without those (``calibrate`` "none") files are compared by the squared error of their weights. block_sizes: which s
    are tried, the most promising first. rate_weights: least and greatest; equal, it is fixed.

    A budget that cannot be met is no error: the file that comes closest is written, and ``met`` is False.
    """
    check_budget(settings, budget, data)
    tell: Progress = progress or (lambda stage, done, total: None)
    stages = stages or Stages()
    path = output_path(checkpoint, output)
    plans = {s: plan(checkpoint, dataclasses.replace(settings, s=s)) for s in block_sizes}
    work = next(iter(plans.values()))
    check_disjoint(data, work.settings.calibrate)
    with stages.stage("inputs"):
        prepared, meter = prepare(checkpoint, work, data, tell)
    most_bytes = budget.most_bytes(checkpoint.source_bytes)
    runs = _Tries(checkpoint, budget, plans, prepared, meter, most_bytes, tell)
    rated = METHODS[str(work.settings.method)].rates and work.settings.coding != "packed"
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
        runs.directory = Path(directory)
        with stages.stage("search"):
            points = search(
                runs.attempt,
                budget,
                {s: _sizes(checkpoint, one) for s, one in plans.items()},
                most_bytes=most_bytes,
                first_k=lambda s: max(2, int(DEFAULT_C * plans[s].blocks)),
                rate_weights=rate_weights if rated else (settings.rate_weight, settings.rate_weight),
            )
        assert runs.best is not None
        chosen, fitted, final = runs.best
        report = compress(checkpoint, final, path, data=data, stages=stages, progress=tell, fitted=fitted)
    index = points.index(chosen)
    if report.file_bytes != chosen.file_bytes:
        met = chosen.met if most_bytes is None else report.file_bytes <= most_bytes
        points[index] = dataclasses.replace(chosen, file_bytes=report.file_bytes, ratio=report.ratio, met=met)
    warnings = [*report.warnings, *_cautions(budget, meter, points[index], most_bytes)]
    return BudgetReport(report, budget, tuple(points), index, meter.what if meter else None, tuple(warnings))


def prepare(
    checkpoint: Checkpoint, work: Plan, data: str | None, tell: Progress
) -> tuple[Prepared | None, Meter | None]:
    """The network and its calibration inputs for several fits, and what measures them; None where there is neither.

    data: labelled images; without, outputs are compared on calibration samples that are held out.
    """
    settings = work.settings
    calibrated = METHODS[str(settings.method)].reads_network
    if not calibrated and data is None:
        return None, None
    model = model_of(checkpoint, device=settings.device)
    prepared = None
    if calibrated:
        from momos_compress.calibration.prepare import calibration_inputs

        apart = HELD_OUT if data is None else 0
        prepared = Prepared(model, calibration_inputs(checkpoint, work, model, tell=tell, held_out=apart))
    if data is not None:
        return prepared, accuracy_meter(model, data, device=settings.device, progress=tell)
    assert prepared is not None
    assert prepared.data.held_out is not None
    return prepared, output_meter(model, prepared.data.held_out, device=settings.device)


class _Tries:
    """Fits settings one after the other, and keeps the best fit."""

    directory: Path

    def __init__(
        self,
        checkpoint: Checkpoint,
        budget: Budget,
        plans: dict[int, Plan],
        prepared: Prepared | None,
        meter: Meter | None,
        most_bytes: int | None,
        tell: Progress,
    ) -> None:
        self.checkpoint, self.budget, self.plans, self.prepared = checkpoint, budget, plans, prepared
        self.meter, self.most_bytes, self.tell = meter, most_bytes, tell
        self.best: tuple[Point, Fitted, Settings] | None = None
        self.done = 0

    def attempt(self, s: int, k: int, rate_weight: float) -> Point:
        """Fit, write, read back and measure."""
        self.done += 1
        number, start = self.done, time.perf_counter()

        def tell(stage: str, done: int, total: int) -> None:
            self.tell(f"{number}: {stage}", done, total)

        final = dataclasses.replace(self.plans[s].settings, c=None, k=k, rate_weight=rate_weight)
        fitted, report, loss = try_settings(
            self.checkpoint, final, self.directory / f"{number}.momos.safetensors", self.prepared, self.meter, tell
        )
        if self.most_bytes is not None:
            met = report.file_bytes <= self.most_bytes
        else:
            met = loss.drop is not None and loss.drop <= (self.budget.drop or 0.0) + 1e-9
        point = Point(
            s,
            k,
            rate_weight,
            report.file_bytes,
            report.ratio,
            loss.drop,
            loss.error,
            met,
            time.perf_counter() - start,
        )
        key = order(self.budget)
        if self.best is None or key(point) < key(self.best[0]):
            self.best = (point, fitted, final)
        return point


def try_settings(
    checkpoint: Checkpoint,
    settings: Settings,
    path: Path,
    prepared: Prepared | None,
    meter: Meter | None,
    tell: Progress,
) -> tuple[Fitted, Report, Degradation]:
    """Fit ``settings``, write ``path``, measure what is read back from it and remove it again.

    Without a meter the error is that of the weights, squared and over their energy.
    """
    quick = dataclasses.replace(settings, bdm=False)
    fitted = fit_checkpoint(checkpoint, plan(checkpoint, quick), path.parent, prepared=prepared, tell=tell)
    try:
        report = compress(checkpoint, quick, path, progress=tell, fitted=fitted)
        loss = Degradation(error=report.relative_distortion)
        if meter is not None:
            tell("measure", 0, 0)
            loss = meter(load_model(path, device=report.device))
    finally:
        path.unlink(missing_ok=True)
    return fitted, report, loss


def _sizes(checkpoint: Checkpoint, work: Plan) -> Sizes:
    wide = work.settings.codebook_dtype not in (None, "int8")
    motif = work.settings.s * (2 if wide else 1)
    return Sizes(work.blocks, motif, bytes_beside(checkpoint, work))


def _cautions(budget: Budget, meter: Meter | None, chosen: Point, most_bytes: int | None) -> list[str]:
    out = []
    if not chosen.met:
        if most_bytes is not None:
            out.append(f"no file of {most_bytes:,} bytes or less was found; the smallest has {chosen.file_bytes:,}")
        else:
            out.append(f"no file within a drop of {budget.drop:g} points was found; the least is {chosen.drop:.2f}")
    if budget.drop is not None and meter is not None and meter.step is not None and meter.step > budget.drop:
        out.append(f"one sample measured is worth {meter.step:.2f} points, more than the drop allowed")
    return out
