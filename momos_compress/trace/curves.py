"""The curves of a trace as plain records: each series scaled to its own range in a run, then averaged over runs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from momos_compress.measures.registry import default_measures
from momos_compress.trace.points import Run
from momos_compress.trace.run import Trace
from momos_compress.trace.traced import FLIPPED, figure_labels

ENTROPY, BY_TENSOR = "entropy of the same blocks", "the same, by tensor"


def panels() -> dict[str, dict[str, str]]:
    """Panel -> figure -> name of its line; lines of one name have one colour."""
    labels = figure_labels()
    shown = {
        "1-D sign blocks": {"sign": "BDM", "sign_entropy": ENTROPY},
        "4 x 4 sign blocks": {
            "matrix": "BDM",
            "matrix_entropy": ENTROPY,
            "matrix_entropy_by_tensor": BY_TENSOR,
        },
        "QuBD plane 1": {
            "qubd_plane_1": "BDM",
            "qubd_plane_1_entropy": ENTROPY,
            "qubd_plane_1_entropy_by_tensor": BY_TENSOR,
        },
    }
    named = {name for lines in shown.values() for name in lines} | {"qubd"}
    others = [name for name in default_measures() if name not in named]
    return shown | {"other measures": {name: labels[name] for name in (*others, "gzip_sign_rate", FLIPPED, "l2")}}


@dataclass(frozen=True)
class Curves:
    """The curves of a chart.

    Attributes:
        metric: The metric that the figures are seen beside.
        groups: Group -> how many runs it has.
        records: Group, panel, series, step, mean, low and high of each place of a curve.
        start: First step shown.
    """

    metric: str
    groups: Mapping[str, int]
    records: tuple[Mapping[str, Any], ...]
    start: int


def shown_metric(metrics: Sequence[str]) -> str:
    """The metric that a chart shows: the first one with "loss" in its name, else the first one."""
    return next((name for name in metrics if "loss" in name.lower()), metrics[0])


def curves_of(trace: Trace, groups: Mapping[str, Sequence[Run]]) -> Curves:
    """The curves of every group and panel; a series that is constant in a run, or not measured, is left out."""
    metric, start = shown_metric(trace.metrics), trace.settings.from_step or 0
    records = []
    for group, runs in groups.items():
        for panel, lines in panels().items():
            loss = [_scaled({p.step: p.metrics.get(metric) for p in run.points if p.step >= start}) for run in runs]
            series = {metric: loss}
            for name, label in lines.items():
                series[label] = [
                    _scaled({p.step: p.measures[name] for p in run.points if p.step >= start}) for run in runs
                ]
            for label, curves in series.items():
                place = {"group": group, "panel": panel, "series": label}
                records += [place | record for record in _averaged(curves)]
    return Curves(metric, {group: len(runs) for group, runs in groups.items()}, tuple(records), start)


def _scaled(values: Mapping[int, float | None]) -> dict[int, float]:
    """A run's values scaled to lie from 0, its least, to 1, its greatest."""
    known = {step: value for step, value in values.items() if value is not None}
    low, high = min(known.values(), default=0.0), max(known.values(), default=0.0)
    span = high - low
    return {step: (value - low) / span for step, value in known.items()} if 0 < span < math.inf else {}


def _averaged(curves: Sequence[Mapping[int, float]]) -> list[dict[str, float]]:
    """The mean at each step over the runs that have it, with one standard deviation around it."""
    records = []
    for step in sorted({step for curve in curves for step in curve}):
        values = [curve[step] for curve in curves if step in curve]
        mean, spread = statistics.fmean(values), statistics.pstdev(values)
        figures = {"mean": mean, "low": max(0.0, mean - spread), "high": min(1.0, mean + spread)}
        records.append({"step": step} | {name: round(value, 5) for name, value in figures.items()})
    return records
