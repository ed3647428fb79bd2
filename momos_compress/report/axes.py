"""Axes, sizes and colours that the charts of a report share (extra: report)."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from momos_compress.drawing.charts import chart_on
from momos_compress.drawing.render import COLOURS, OTHER_COLOUR
from momos_compress.report.families import OTHER
from momos_compress.report.texts import significant

NAMED_MODELS = 20
"""Models up to which the axis of ranks shows names."""

_LEAST_SPAN = 1e-7
"""Least height of an axis of ratios, at which labels still tell its ticks apart."""


def reference_line(**y: Any) -> alt.Chart:
    """The line where a model is as complex as its copies, on the axis of ratios y."""
    rule: alt.Chart = chart_on("one").mark_rule(style="reference").encode(y=alt.YDatum(1, **y))
    return rule


def ratio_axis(
    title: str | list[str], lows: Sequence[float] | None = None, highs: Sequence[float] = ()
) -> dict[str, Any]:
    """The axis of ratios, which every layer of a chart must name: one that does not would have it start at 0.

    Without ratios the axis spans whatever data the chart is given, as the page's script exchanges them.
    """
    fixed: dict[str, Any] = {"padding": 8} if lows is None else {"domain": _domain(lows, highs)}
    scale = alt.Scale(nice=False, zero=False, **fixed)
    return {"title": title, "scale": scale, "axis": alt.Axis(grid=True, tickCount=6)}


def size_by_parameters(parameters: Sequence[int]) -> alt.Size:
    """The area of points by the number of parameters."""
    most = significant(max(parameters), 1)
    shown = sorted({significant(most * share, 1) for share in (0.1, 0.4, 1)})
    return alt.Size(
        "parameters:Q",
        scale=alt.Scale(type="linear", domain=[0, max(*parameters, most)], range=[30, 420]),
        legend=alt.Legend(
            title="parameters", values=shown, labelExpr="format(datum.value, '~s')", symbolFillColor=OTHER_COLOUR
        ),
    )


def colour_by_family(families: Sequence[str]) -> alt.Color:
    """A colour for each of these families."""
    colours = [OTHER_COLOUR if family == OTHER else COLOURS[index] for index, family in enumerate(families)]
    return alt.Color("family:N", scale=alt.Scale(domain=list(families), range=colours), title="family")


def rank_axis(models: int) -> alt.X:
    """The axis of ranks, with names where there are few models."""
    if models <= NAMED_MODELS:
        axis = alt.Axis(labelAngle=-35, labelLimit=180)
        return alt.X("label:N", sort=None, title="model, by rank (1 = least ratio)", axis=axis)
    scale = alt.Scale(domain=[0.2, models + 0.8], nice=False)
    axis = alt.Axis(tickMinStep=1, format="d", grid=False)
    return alt.X("rank:Q", title="rank of the model (1 = least ratio)", scale=scale, axis=axis)


def _domain(lows: Sequence[float], highs: Sequence[float]) -> list[float]:
    """The span of the ratios and 1, with room around them; it does not reach down to 0, where no ratio lies."""
    low, high = min(1.0, *lows), max(1.0, *highs)
    room = max(0.06 * (high - low), _LEAST_SPAN / 2)
    return [low - room, high + room]
