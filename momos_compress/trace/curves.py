"""The curves of a trace as plain records: each series scaled to its own range in a run, then averaged over runs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from momos_compress.trace.points import Run
from momos_compress.trace.run import Trace

PANELS: Mapping[str, Mapping[str, str]] = {
    "1-D sign blocks": {"sign": "BDM", "sign_entropy": "entropy of the same blocks"},
    "4 x 4 sign blocks": {
        "matrix": "BDM",
        "matrix_entropy": "entropy of the same blocks",
        "matrix_entropy_by_tensor": "the same, by tensor",
    },
    "QuBD plane 1": {
        "qubd_plane_1": "BDM",
        "qubd_plane_1_entropy": "entropy of the same blocks",
        "qubd_plane_1_entropy_by_tensor": "the same, by tensor",
    },
    "other measures": {
        "windowed": "windowed sign BDM",
        "gzip_sign_rate": "gzip rate of signs",
        "flipped": "flipped signs",
        "l2": "L2 norm",
    },
}
"""Panel -> measure -> what its line is called. Lines of one name have one colour."""


@dataclass(frozen=True)
class Curves:
    """What a figure shows.

    groups: how many runs each has. records: group, panel, series, step, mean, low, high. start: first step shown.
    """

    metric: str
    groups: Mapping[str, int]
    records: tuple[Mapping[str, Any], ...]
    start: int


def shown_metric(metrics: Sequence[str]) -> str:
    """The metric that a figure shows: the first one with "loss" in its name, else the first one."""
    return next((name for name in metrics if "loss" in name.lower()), metrics[0])


def curves_of(trace: Trace, groups: Mapping[str, Sequence[Run]]) -> Curves:
    """Records for every group and panel; a series that is constant in a run, or not measured, is not shown."""
    metric, start = shown_metric(trace.metrics), trace.settings.from_step or 0
    records = []
    for group, runs in groups.items():
        for panel, measures in PANELS.items():
            loss = [_scaled({p.step: p.metrics.get(metric) for p in run.points if p.step >= start}) for run in runs]
            series = {metric: loss}
            for measure, label in measures.items():
                series[label] = [
                    _scaled({p.step: p.measures[measure] for p in run.points if p.step >= start}) for run in runs
                ]
            for label, curves in series.items():
                place = {"group": group, "panel": panel, "series": label}
                records += [place | record for record in _averaged(curves)]
    return Curves(metric, {group: len(runs) for group, runs in groups.items()}, tuple(records), start)


def _scaled(values: Mapping[int, float | None]) -> dict[int, float]:
    """A run's values from 0 (its least) to 1 (its greatest)."""
    known = {step: value for step, value in values.items() if value is not None}
    low, high = min(known.values(), default=0.0), max(known.values(), default=0.0)
    span = high - low
    return {step: (value - low) / span for step, value in known.items()} if 0 < span < math.inf else {}


def _averaged(curves: Sequence[Mapping[int, float]]) -> list[dict[str, float]]:
    """At each step the mean over the runs that have it, and one standard deviation around it."""
    records = []
    for step in sorted({step for curve in curves for step in curve}):
        values = [curve[step] for curve in curves if step in curve]
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        figures = {"mean": mean, "low": max(0.0, mean - spread), "high": min(1.0, mean + spread)}
        records.append({"step": step} | {name: round(value, 5) for name, value in figures.items()})
    return records
