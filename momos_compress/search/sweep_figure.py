"""The chart of a sweep: size against what is left (extra: report)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from momos_compress.drawing.charts import chart_on, specification
from momos_compress.drawing.render import COLOURS, Spec


@dataclass(frozen=True)
class Axis:
    """What the vertical axis shows.

    Attributes:
        field: The field of a record.
        title: Its title.
        logarithmic: Whether its scale is, where all values are positive.
    """

    field: str
    title: str
    logarithmic: bool = False


def rate_chart(records: Sequence[Mapping[str, Any]], source: str, y_axis: Axis) -> Spec:
    """Chart what is left over the size of files: a point for each, a line through those of one s and rate weight.

    Args:
        records: With "s", "rate_weight", "k", "ratio", "bits_per_weight" and the field that ``y_axis`` names.
        source: What was compressed.
        y_axis: What the vertical axis shows.
    """
    field = y_axis.field
    sizes = sorted({record["s"] for record in records})
    weights = sorted({record["rate_weight"] for record in records})
    positive = all(record[field] > 0 for record in records)
    y_scale = alt.Scale(type="log" if y_axis.logarithmic and positive else "linear", zero=False, nice=False, padding=10)
    base = chart_on("points").encode(
        x=alt.X(
            "bits_per_weight:Q",
            title="file (bits per weight)",
            scale=alt.Scale(zero=False, nice=False, padding=10),
            axis=alt.Axis(tickCount=8),
        ),
        y=alt.Y(f"{field}:Q", title=y_axis.title, scale=y_scale),
        color=alt.Color(
            "s:O", title="block size s", scale=alt.Scale(domain=sizes, range=[*COLOURS, *COLOURS][: len(sizes)])
        ),
        detail="rate_weight:N",
        tooltip=[
            alt.Tooltip("s:Q", title="s"),
            alt.Tooltip("k:Q", title="motifs", format=","),
            alt.Tooltip("rate_weight:Q", title="rate weight"),
            alt.Tooltip("ratio:Q", title="ratio", format=".2f"),
            alt.Tooltip(f"{field}:Q", title=y_axis.title, format=".4~g"),
        ],
    )
    points = base.mark_point(filled=True, size=60, opacity=0.9)
    if len(weights) > 1:
        points = points.encode(shape=alt.Shape("rate_weight:O", title="rate weight"))
    chart = alt.layer(base.mark_line(strokeWidth=1.2, opacity=0.6), points, height=380)
    number = f"{len(records)} {'file' if len(records) == 1 else 'files'}"
    return specification(
        chart,
        f"Size and loss of {source}",
        f"{number}; lines join those of one block size and rate weight",
        points=records,
    )
