"""The chart of a training run: its metrics by epoch (extra: report)."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from momos_compress.drawing.charts import chart_on, epoch_axis, specification
from momos_compress.drawing.render import COLOURS, WIDTH, Spec

PANELS: dict[str, tuple[tuple[str, str], ...]] = {
    "loss": (("train_loss", "training"), ("validation_loss", "validation")),
    "top-1 (%)": (("validation_top1", "validation"),),
    "distortion D of the projection": (("distortion", "distortion"),),
    "weights changed by the projection": (("changed", "changed"),),
    "sign BDM (bits)": (("bdm", "BDM"),),
}
"""Title of a panel -> the columns of metrics.csv in it, with their names in the legend."""

HEIGHT = 170
"""Height of a panel in pixels."""


def training_chart(rows: Sequence[Mapping[str, Any]], name: str, best: int | None) -> Spec:
    """Chart a run: a panel for each kind of figure, a point for each epoch, a rule at the best one.

    Args:
        rows: Rows of metrics.csv; panels without a figure in any are left out.
        name: What was trained.
        best: The best epoch, counted from 1; None: no rule is drawn.
    """
    panels, data = [], {}
    for number, (title, series) in enumerate(PANELS.items()):
        shown = [(column, label) for column, label in series if any(row.get(column) is not None for row in rows)]
        if not shown:
            continue
        key = f"panel{number}"
        data[key] = [
            {"epoch": row["epoch"], "value": row[column], "series": label}
            for column, label in shown
            for row in rows
            if row.get(column) is not None
        ]
        panels.append(_panel(key, title, [label for _, label in shown], best, max(row["epoch"] for row in rows)))
    chart = alt.vconcat(*panels, spacing=22).resolve_scale(color="independent")
    epochs = f"{len(rows)} {'epoch' if len(rows) == 1 else 'epochs'}"
    rule = "" if best is None else f"; dashed: the best by validation, {best}"
    return specification(chart, f"Training of {name}", f"{epochs}{rule}", **data)


def _panel(key: str, title: str, labels: Sequence[str], best: int | None, last: int) -> alt.LayerChart | alt.FacetChart:
    legend = alt.Legend(title=None) if len(labels) > 1 else None
    base = chart_on(key).encode(
        x=epoch_axis(last),
        y=alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, nice=False, padding=8)),
        color=alt.Color("series:N", scale=alt.Scale(domain=labels, range=COLOURS[: len(labels)]), legend=legend),
    )
    layers = [base.mark_line(strokeWidth=1.6), base.mark_point(filled=True, size=45, opacity=1)]
    if best is not None:
        layers.append(chart_on(key).mark_rule(style="reference").encode(x=alt.XDatum(best)))
    return alt.layer(*layers, width=WIDTH, height=HEIGHT)
