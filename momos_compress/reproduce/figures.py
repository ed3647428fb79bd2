"""The charts of the Mosaic-of-Motifs study: distortion over epochs, accuracy over capacity (extra: report)."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from momos_compress.drawing.charts import chart_on, epoch_axis, specification
from momos_compress.drawing.render import COLOURS, WIDTH, Spec

HEIGHT = 220
"""Height of a panel in pixels."""
Records = Sequence[Mapping[str, Any]]
"""Rows of momos.csv."""


def distortion_chart(rows: Records, figure: int) -> Spec | None:
    """Chart D of each epoch's projection: a panel for each network, a line for each capacity.

    Args:
        rows: Rows of momos.csv with one block size.
        figure: The number of the figure.

    Returns:
        The chart; None without rows.
    """
    if not rows:
        return None
    return _panels(
        _means(rows, ("network", "c", "epoch"), "distortion"),
        epoch_axis(max(row["epoch"] for row in rows)),
        alt.Y("mean:Q", title="distortion D", scale=alt.Scale(type="log", nice=False, padding=8)),
        ("c", "capacity c"),
        f"Distortion over epochs (figure {figure})",
        f"squared difference that each epoch's projection makes; s = 4{_bars(rows)}",
    )


def accuracy_chart(rows: Records) -> Spec | None:
    """Chart accuracy over capacity: a panel for each network, a line for each block size.

    Each run counts with its best epoch by validation, on test images where all have some.

    Returns:
        The chart; None without rows.
    """
    best = [row for row in rows if row["best"]]
    measure = "test_top1" if all(row["test_top1"] is not None for row in best) else "validation_top1"
    if not best:
        return None
    return _panels(
        _means(best, ("network", "s", "c"), measure),
        alt.X(
            "c:Q",
            title="capacity c",
            scale=alt.Scale(type="log", nice=False, padding=20),
            axis=alt.Axis(values=sorted({row["c"] for row in best}), format="~g", grid=False),
        ),
        alt.Y("mean:Q", title=f"{measure.partition('_')[0]} top-1 (%)", scale=alt.Scale(zero=False, padding=8)),
        ("s", "block size s"),
        "Accuracy over capacity (figure 4)",
        f"the best epoch by validation{_bars(best)}",
    )


def _bars(rows: Records) -> str:
    seeds = len({row["seed"] for row in rows})
    return f"; bars: from least to greatest over {seeds} seeds" if seeds > 1 else ""


def _means(rows: Records, keys: Sequence[str], measure: str) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[float]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(float(row[measure]))
    return [
        {**dict(zip(keys, group, strict=True)), "mean": statistics.fmean(values), "low": min(values),
         "high": max(values)}
        for group, values in groups.items()
    ]  # fmt: skip


def _panels(
    records: Sequence[Mapping[str, Any]], x: alt.X, y: alt.Y, series: tuple[str, str], title: str, subtitle: str
) -> Spec:
    field, legend = series
    domain = sorted({record[field] for record in records})
    colour = alt.Color(f"{field}:O", title=legend, scale=alt.Scale(domain=domain, range=list(COLOURS[: len(domain)])))
    panels, data = [], {}
    for name in dict.fromkeys(record["network"] for record in records):
        data[name] = [record for record in records if record["network"] == name]
        base = chart_on(name).encode(x=x, color=colour)
        layers = [
            base.mark_line(strokeWidth=1.6).encode(y=y),
            base.mark_rule(strokeWidth=1.2).encode(y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_point(filled=True, size=45, opacity=1).encode(y=y),
        ]
        panels.append(alt.layer(*layers, width=WIDTH, height=HEIGHT, title=alt.Title(name, fontSize=13)))
    return specification(alt.vconcat(*panels, spacing=24), title, subtitle, **data)
