"""Does complexity follow the loss? The checkpoints of training runs, measured and correlated with their metrics.

For arXiv 2505.20646 (BDM of binarised weights follows the training loss more closely than entropy does).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from momos_compress.common.progress import Progress, silent
from momos_compress.errors import MomosError
from momos_compress.trace.correlations import Correlation, Difference, correlate, groups
from momos_compress.trace.files import RunFiles, find_runs
from momos_compress.trace.metrics import Metrics, read_metrics
from momos_compress.trace.points import Run, measure_run
from momos_compress.trace.settings import TraceSettings


@dataclass(frozen=True)
class Trace:
    """What a trace found.

    Attributes:
        settings: What was asked for.
        runs: The measured runs.
        correlations: One for every group, metric, window and figure.
        differences: One for every group, metric, window and measure with an entropy.
        warnings: What was left out.
    """

    settings: TraceSettings
    runs: tuple[Run, ...]
    correlations: tuple[Correlation, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric of any run."""
        return tuple(dict.fromkeys(name for run in self.runs for name in run.metrics))


def trace_runs(
    sources: Sequence[str | Path],
    settings: TraceSettings | None = None,
    *,
    progress: Progress = silent,
) -> Trace:
    """Measure every checkpoint of these runs and correlate the figures with the metrics.

    Args:
        sources: Directories of checkpoints, directories of such, or weights files of one run.
        settings: What is asked for; None takes the defaults.
        progress: Told ("checkpoints", 1, how many in all) after each.

    Raises:
        MomosError: A setting is out of range, or something is wrong with a file, which is named; all but damaged
            weights are found before the first is measured.
    """
    settings = settings or TraceSettings()
    _check(settings)
    found, warnings = find_runs(sources)
    metrics = read_metrics(found, settings.metrics, settings.metric)
    warnings += _join_warnings(found, metrics, settings)
    total = sum(len(run.checkpoints) for run in found)
    runs = tuple(
        measure_run(run, each, settings.planes, lambda: progress("checkpoints", 1, total))
        for run, each in zip(found, metrics, strict=True)
    )
    correlations, differences = correlate(
        runs, from_step=settings.from_step, resamples=settings.resamples, seed=settings.seed
    )
    return Trace(settings, runs, correlations, differences, warnings + _uneven(runs))


def _check(settings: TraceSettings) -> None:
    if not 1 <= settings.planes <= 16:
        raise MomosError(f"`planes` must be 1 to 16, not {settings.planes}")
    if settings.resamples < 1:
        raise MomosError(f"`resamples` must be at least 1, not {settings.resamples}")
    if settings.seed < 0:
        raise MomosError(f"`seed` must be at least 0, not {settings.seed}")
    if settings.from_step is not None and settings.from_step < 0:
        raise MomosError(f"`from_step` must be at least 0, not {settings.from_step}")


def _join_warnings(runs: Sequence[RunFiles], metrics: Sequence[Metrics], settings: TraceSettings) -> tuple[str, ...]:
    """Say which checkpoints have no metrics, and which metrics no checkpoint; MomosError where none have both."""
    without_row, without_file = dict[str, int](), dict[str, int]()
    without_value: dict[str, dict[str, int]] = {}
    for run, each in zip(runs, metrics, strict=True):
        steps = {step for step, _ in run.checkpoints}
        both = steps & each.values.keys()
        if not both:
            raise MomosError(
                f"{run.name}: no step in its metrics is a checkpoint's (these are of steps {min(steps)} to "
                f"{max(steps)}); name the right CSV with `metrics`"
            )
        if settings.from_step is not None and settings.from_step > max(steps):
            raise MomosError(f"`from_step` {settings.from_step} is after {run.name}'s last checkpoint, {max(steps)}")
        without_row[run.name] = len(steps - both)
        without_file[run.name] = len(each.values.keys() - both)
        for name in each.names:
            missing = sum(name not in each.values[step] for step in both)
            without_value.setdefault(name, {})[run.name] = missing
    lines = [
        ("{} without a row of metrics left out of the correlations", without_row),
        ("{} of metrics without a checkpoint left out", without_file),
        *((f"{{}} left out where {name} is empty, NaN or infinite", counts) for name, counts in without_value.items()),
    ]
    nouns = [("checkpoint", "checkpoints"), ("row", "rows"), *[("checkpoint", "checkpoints")] * len(without_value)]
    return tuple(
        line.format(f"{count} {one if count == 1 else many}") + f" ({_where(counts)})"
        for (line, counts), (one, many) in zip(lines, nouns, strict=True)
        if (count := sum(counts.values()))
    )


def _where(counts: Mapping[str, int]) -> str:
    some = [f"{run}: {count}" for run, count in counts.items() if count]
    return "; ".join(some[:3]) + (f"; and {len(some) - 3} more runs" if len(some) > 3 else "")


def _uneven(runs: Sequence[Run]) -> tuple[str, ...]:
    """Say which groups have runs with other steps than the rest, as an interrupted run has: their mean is of fewer."""
    lines = []
    for group, members in groups(runs).items():
        by_steps: dict[tuple[int, ...], list[str]] = {}
        for run in members:
            by_steps.setdefault(tuple(point.step for point in run.points), []).append(run.name)
        if len(by_steps) > 1:
            usual = max(by_steps.values(), key=len)
            others = [run.name for run in members if run.name not in usual]
            more = ", ..." if len(others) > 3 else ""
            lines.append(f"{group}: {', '.join(others[:3])}{more} have checkpoints at other steps than {usual[0]}")
    return tuple(lines)
