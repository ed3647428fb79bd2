"""The chart of a trace: small multiples of figures and loss over training (extra: report)."""

import json

import altair as alt

from momos_compress.drawing.render import COLOURS, Spec
from momos_compress.errors import one_line
from momos_compress.trace.curves import Curves, panels

_COLOURS = ("#4c78a8", "#f58518", "#d6a500", "#72b7b2", "#54a24b", "#e45756", "#b279a2")
"""Colours of the lines, in the order of their names."""
_METRIC_COLOUR = "#1f2328"
_STEPS = "datum.value < 10000 ? format(datum.value, ',') : format(datum.value, '~s')"
_INSIDE = "datum.value == 1 ? 'top' : datum.value == 0 ? 'bottom' : 'middle'"
"""Keeps the labels of an axis within it, so that the titles of all panels are on one line."""

_WIDTH, _HEIGHT = 250, 170


def curves_figure(curves: Curves) -> Spec:
    """One row of panels for each group, with means as lines and one standard deviation around them as bands."""
    rows = []
    for group in curves.groups:
        row = [_panel(curves, group, panel, last=group == list(curves.groups)[-1]) for panel in panels()]
        count = curves.groups[group]
        title = alt.Title(f"{one_line(group, 60)} ({count} {'run' if count == 1 else 'runs'})", fontSize=14, offset=8)
        rows.append(alt.hconcat(*row, spacing=14).properties(title=title))
    headline = f"Complexity of weights and {one_line(curves.metric, 40)} over training"
    shown = f"from step {curves.start}" if curves.start else "all checkpoints"
    subtitle = [
        f"Each series from its least (0) to its greatest value (1) in each run, {shown}.",
        "Lines: mean over runs; bands: one standard deviation over runs.",
    ]
    chart = alt.vconcat(*rows, spacing=26).properties(
        title=alt.Title(headline, subtitle=subtitle), description=f"{headline}. {' '.join(subtitle)}"
    )
    spec: Spec = chart.to_dict()
    spec.pop("config", None)
    return spec


def _panel(curves: Curves, group: str, panel: str, *, last: bool) -> alt.LayerChart | alt.FacetChart:
    records = [dict(record) for record in curves.records if (record["group"], record["panel"]) == (group, panel)]
    first = panel == next(iter(panels()))
    x = alt.X(
        "step:Q",
        title="training step (square-root scale)" if last else None,
        scale=alt.Scale(type="sqrt", nice=False),
        axis=alt.Axis(tickCount=5, grid=False, labelExpr=_STEPS, labelFlush=True, labelOverlap=True),
    )
    y = alt.Y(
        "mean:Q",
        title="share of its range (0 to 1)" if first else None,
        scale=alt.Scale(domain=[0, 1], nice=False),
        axis=alt.Axis(values=[0, 0.5, 1], labels=first, labelBaseline=alt.ExprRef(_INSIDE)),
    )
    names = list(dict.fromkeys(label for lines in panels().values() for label in lines.values()))
    scale = alt.Scale(domain=[curves.metric, *names], range=[_METRIC_COLOUR, *_COLOURS, *COLOURS])
    legend = alt.Legend(
        title=None, symbolType="stroke", symbolStrokeWidth=3, columns=4, symbolSize=300, symbolOpacity=1
    )
    data = alt.Data(values=records)  # type: ignore[no-untyped-call]
    base = alt.Chart(data).encode(x=x, color=alt.Color("series:N", scale=scale, legend=legend))
    metric = f"datum.series == {json.dumps(curves.metric)}"
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(interpolate="linear", strokeWidth=2).encode(
        y=y, strokeDash=alt.condition(metric, alt.value([5, 3]), alt.value([1, 0]))
    )
    return alt.layer(band, line, width=_WIDTH, height=_HEIGHT, title=alt.Title(panel, fontSize=12, anchor="middle"))
