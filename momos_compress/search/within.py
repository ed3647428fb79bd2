"""Compression to a budget: the file's size, or what may be lost, is given, and the settings are searched for."""

import dataclasses
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from momos_compress.common.progress import Progress, silent
from momos_compress.common.stages import Stages
from momos_compress.compression.fit import FittedMosaic
from momos_compress.compression.pipeline import compress
from momos_compress.compression.report import Report
from momos_compress.data.registry import check_disjoint
from momos_compress.fitting.methods import HESSIAN
from momos_compress.networks.meters import Meter
from momos_compress.planning.plan import Plan, output_path, plan
from momos_compress.search.bench import Bench, open_bench, try_settings
from momos_compress.search.bisection import SearchSpace, search
from momos_compress.search.budget import Budget, check_budget
from momos_compress.search.file_sizes import file_sizes
from momos_compress.search.settings_path import RATE_WEIGHTS
from momos_compress.search.trial import Trial, preference
from momos_compress.settings import DEFAULT_C, Settings
from momos_compress.sources.checkpoint import Checkpoint

BLOCK_SIZES = (4, 2, 1)
"""Block sizes that a search tries, the most promising first."""
ROUNDING = 1e-9
"""Points by which a drop may miss the one allowed, since both are differences of rounded numbers."""


@dataclass(frozen=True)
class BudgetReport:
    """What a search found.

    Attributes:
        report: Of the file written.
        budget: What was asked for.
        trials: All settings tried, in order.
        chosen: Which of them the file has.
        measured: What a drop is a drop of; None where nothing was measured.
        warnings: What the user should know.
    """

    report: Report
    budget: Budget
    trials: tuple[Trial, ...]
    chosen: int
    measured: str | None
    warnings: tuple[str, ...]

    @property
    def met(self) -> bool:
        """Whether the file is within the budget."""
        return self.trials[self.chosen].met

    def to_json(self) -> dict[str, Any]:
        """Turn into the report's JSON-ready record, with the search beside it."""
        return self.report.to_json() | {
            "target": self.budget.to_json(),
            "target_met": self.met,
            "measured": self.measured,
            "points": [trial.to_json() for trial in self.trials],
            "chosen": self.chosen,
            "warnings": list(self.warnings),
        }


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
    progress: Progress = silent,
) -> BudgetReport:
    """Search for the settings that serve a budget best, and write the file of those.

    A budget that cannot be met is no error: the file that comes closest is written, and the report's ``met`` is False.

    Args:
        checkpoint: The weights, such as ``open_checkpoint`` gives.
        settings: Choices of the compression, without ``c`` and ``k``; ``s`` and ``rate_weight`` are searched for.
        budget: What is asked for.
        output: The file to write; None: ``NAME.momos.safetensors`` in the working directory.
        data: Labelled images that accuracy is measured on. Without, outputs are compared with the original's on
            calibration samples that are held out from the fit; without those, where ``calibrate`` is "none", files are
            compared by the squared error of their weights.
        block_sizes: Block sizes to try, the most promising first.
        rate_weights: Least and greatest rate weight; equal, it is fixed.
        stages: Collects times and memory; give one that holds stages that ran before, such as loading.
        progress: Told how far each stage is.

    Returns:
        What was tried and chosen, and the report of the file.

    Raises:
        MomosError: if settings, budget and data do not go together, or a setting is wrong.

    Examples:
        >>> import momos_compress as mc, momos_zoo
        >>> weights, settings = mc.open_checkpoint("digits"), mc.Settings(calibrate="none", bdm=False)
        >>> found = mc.compress_within(weights, settings, mc.Budget(target_ratio=10), "ten.momos.safetensors")
        >>> found.met, found.report.ratio >= 10
        (True, True)
    """
    check_budget(settings, budget, data)
    stages = stages or Stages()
    path = output_path(checkpoint, output)
    plans = {s: plan(checkpoint, dataclasses.replace(settings, s=s)) for s in block_sizes}
    work = next(iter(plans.values()))
    check_disjoint(data, work.settings.calibrate)
    with stages.stage("inputs"):
        bench = open_bench(checkpoint, work, data, progress)
    if bench.instead is not None:
        plans = {s: plan(checkpoint, bench.settled(dataclasses.replace(settings, s=s))) for s in block_sizes}
        work = bench.instead
    most_bytes = budget.most_bytes(checkpoint.source_bytes)
    rated = work.settings.method == HESSIAN and work.settings.coding != "packed"
    space = SearchSpace(
        sizes={s: file_sizes(checkpoint, one) for s, one in plans.items()},
        most_bytes=most_bytes,
        first_k=lambda s: max(2, int(DEFAULT_C * plans[s].blocks)),
        rate_weights=rate_weights if rated else (work.settings.rate_weight, work.settings.rate_weight),
    )
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory:
        runs = _Trials(checkpoint, budget, plans, bench, most_bytes, Path(directory), progress)
        with stages.stage("search"):
            trials = search(runs.attempt, budget, space)
        assert runs.best is not None
        chosen, fitted, final = runs.best
        report = compress(
            checkpoint, final, path, data=data, stages=stages, progress=progress, fitted=fitted, meter=bench.outputs
        )
    index = trials.index(chosen)
    trials[index] = _as_written(chosen, report, most_bytes)
    warnings = (*report.warnings, *bench.warnings, *_cautions(budget, bench.meter, trials[index], most_bytes))
    measured = bench.meter.what if bench.meter else None
    return BudgetReport(report, budget, tuple(trials), index, measured, warnings)


class _Trials:
    """Fits settings one after the other, and keeps the best fit.

    Args:
        checkpoint: The weights.
        budget: What is asked for.
        plans: Block size -> its plan.
        bench: What trials share.
        most_bytes: Bytes that the file may have; None where the budget is a loss.
        directory: Where files are written, and removed again.
        progress: Told how far each stage of a trial is.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        budget: Budget,
        plans: Mapping[int, Plan],
        bench: Bench,
        most_bytes: int | None,
        directory: Path,
        progress: Progress,
    ) -> None:
        self.checkpoint, self.budget, self.plans, self.bench = checkpoint, budget, plans, bench
        self.most_bytes, self.directory, self.progress = most_bytes, directory, progress
        self.best: tuple[Trial, FittedMosaic, Settings] | None = None
        self.done = 0

    def attempt(self, s: int, k: int, rate_weight: float) -> Trial:
        """Fit, write, read back and measure."""
        self.done += 1
        number, start = self.done, time.perf_counter()

        def progress(stage: str, done: int, total: int) -> None:
            self.progress(f"{number}: {stage}", done, total)

        asked = self.plans[s].settings.as_settings()
        final = dataclasses.replace(asked, c=None, k=k, rate_weight=rate_weight)
        path = self.directory / f"{number}.momos.safetensors"
        tried = try_settings(self.checkpoint, final, path, self.bench, progress)
        trial = Trial(
            s,
            k,
            rate_weight,
            tried.report.file_bytes,
            tried.report.ratio,
            tried.drop,
            tried.error,
            self._met(tried.report.file_bytes, tried.drop),
            time.perf_counter() - start,
            tried.report.fidelity,
        )
        key = preference(self.budget)
        if self.best is None or key(trial) < key(self.best[0]):
            self.best = (trial, tried.fitted, final)
        return trial

    def _met(self, file_bytes: int, drop: float | None) -> bool:
        if self.most_bytes is not None:
            return file_bytes <= self.most_bytes
        return drop is not None and drop <= (self.budget.max_drop or 0.0) + ROUNDING


def _as_written(chosen: Trial, report: Report, most_bytes: int | None) -> Trial:
    """The chosen trial with the size of the file that was written in the end."""
    if report.file_bytes == chosen.file_bytes:
        return chosen
    met = chosen.met if most_bytes is None else report.file_bytes <= most_bytes
    return dataclasses.replace(chosen, file_bytes=report.file_bytes, ratio=report.ratio, met=met)


def _cautions(budget: Budget, meter: Meter[Any] | None, chosen: Trial, most_bytes: int | None) -> list[str]:
    out = []
    if not chosen.met:
        if most_bytes is not None:
            out.append(f"no file of {most_bytes:,} bytes or less was found; the smallest has {chosen.file_bytes:,}")
        else:
            allowed = f"{budget.max_drop:g} points"
            out.append(f"no file within a drop of {allowed} was found; the least is {chosen.drop:.2f}")
    if budget.max_drop is not None and meter is not None and meter.step is not None and meter.step > budget.max_drop:
        out.append(f"one sample measured is worth {meter.step:.2f} points, more than the drop allowed")
    return out
