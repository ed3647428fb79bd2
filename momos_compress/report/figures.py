"""The charts of a report as Vega-Lite specifications (extra: report)."""

from collections.abc import Mapping, Sequence

import altair as alt

from momos_compress.drawing.charts import Records, chart_on, named_data, specification
from momos_compress.drawing.render import WIDTH, Spec
from momos_compress.measures.registry import MeasureName, measure_named
from momos_compress.report.axes import colour_by_family, rank_axis, ratio_axis, reference_line, size_by_parameters
from momos_compress.report.correlation import Correlations
from momos_compress.report.texts import BASELINE_LABELS
from momos_compress.study.settings import BaselineKind


def figure2(
    records: Records, families: Sequence[str], measure: MeasureName, baseline: BaselineKind, over: str, seeds: str
) -> Spec:
    """Figure 2 of arXiv 2602.14896: the ratio of each model, by rank.

    Args:
        records: What ``rank_records`` gives.
        families: Families that have a colour.
        measure: Which ratio.
        baseline: Over which copies.
        over: What the copies are compared with, such as "pretrained".
        seeds: How many copies a ratio is the mean of, such as "3 seeds".
    """
    shown = measure_named(measure)
    lows, highs = ([record[key] for record in records] for key in ("low", "high"))
    units = f"({shown.unit} / {shown.unit})"
    y = ratio_axis(f"{shown.quantity} ratio, {over} over {BASELINE_LABELS[baseline]} {units}", lows, highs)
    base = chart_on("models").encode(
        x=rank_axis(len(records)),
        tooltip=[
            alt.Tooltip("model:N", title="model"),
            alt.Tooltip("its_family:N", title="family"),
            alt.Tooltip("parameters:Q", title="parameters", format=","),
            alt.Tooltip("rank:Q", title="rank"),
            alt.Tooltip("ratio_text:N", title="ratio"),
            alt.Tooltip("possible:N", title="possible 1-D sign ratio"),
        ],
    )
    # The bars lie over the points and have the ink's colour: a large network's point is larger than its spread.
    bars = base.mark_rule(style="spread").encode(y=alt.Y("low:Q", **y), y2="high:Q")
    points = base.mark_point(filled=True, opacity=0.85).encode(
        y=alt.Y("ratio:Q", **y),
        color=colour_by_family(families),
        size=size_by_parameters([record["parameters"] for record in records]),
    )
    title = f"{shown.quantity} ratio of {len(records)} {'model' if len(records) == 1 else 'models'}: {shown.label}"
    title = title[0].upper() + title[1:]
    chart = alt.layer(reference_line(**y), points, bars, height=380)
    subtitle = f"{over} over {BASELINE_LABELS[baseline]} copies; points: mean of {seeds}; bars: least to greatest; "
    return specification(chart, title, f"{subtitle}dashed: as complex as the copies", models=records, one=[{}])


def qubd_planes(records: Records, medians: Records, families: Sequence[str], baseline: BaselineKind, over: str) -> Spec:
    """QuBD's ratio at each bit-plane, one line for each model, and their median.

    Args:
        records: The first of what ``plane_records`` gives.
        medians: The second of it.
        families: Families that have a colour.
        baseline: Over which copies.
        over: What the copies are compared with, such as "pretrained".
    """
    # A wide line that nobody sees is hit: with nearest=True, Vega-Lite 6.4 shows tooltips of undefined values.
    hovered = alt.selection_point(name="hovered", fields=["key"], on="pointerover", clear="pointerout", empty=False)
    ratios = [record["ratio"] for record in records]
    ratio_title = f"QuBD ratio, {over} over {BASELINE_LABELS[baseline]} (bits / bits)"
    y = ratio_axis(ratio_title, ratios, ratios)
    plane = alt.X(
        "plane:O", title="bit-plane (1 = most significant)", axis=alt.Axis(labelAngle=0), scale=alt.Scale(padding=0.3)
    )
    base = chart_on("models").encode(x=plane, y=alt.Y("ratio:Q", **y), color=colour_by_family(families), detail="key:N")
    lines = base.mark_line(interpolate="linear").encode(
        opacity=alt.condition(hovered, alt.value(1), alt.value(0.35)),
        strokeWidth=alt.condition(hovered, alt.value(3), alt.value(1.2)),
    )
    model = alt.Tooltip("model:N", title="model")
    wide = base.mark_line(strokeWidth=6, opacity=0).encode(tooltip=[model]).add_params(hovered)
    points = base.mark_point(filled=True).encode(
        size=alt.condition(hovered, alt.value(110), alt.value(28)),
        opacity=alt.condition(hovered, alt.value(1), alt.value(0.7)),
        tooltip=[model, alt.Tooltip("plane:O", title="plane"), alt.Tooltip("ratio_text:N", title="ratio")],
    )
    middle = chart_on("medians").encode(x=plane, y=alt.Y("median:Q", **y))
    median_tooltip = [
        alt.Tooltip("plane:O", title="plane"),
        alt.Tooltip("median:Q", title="median ratio", format=".6f"),
        alt.Tooltip("models:Q", title="models"),
    ]
    chart = alt.layer(
        reference_line(**y),
        lines,
        middle.mark_line(style="median-line"),
        wide,
        points,
        middle.mark_point(filled=True, shape="diamond", style="median-point").encode(tooltip=median_tooltip),
        height=380,
    )
    models = len({record["key"] for record in records})
    subtitle = f"{over} over {BASELINE_LABELS[baseline]} copies; a thin line for each of {models} "
    subtitle += f"{'model' if models == 1 else 'models'}; thick line with diamonds: median; dashed: 1"
    return specification(chart, "QuBD ratio by bit-plane", subtitle, models=records, medians=medians, one=[{}])


def layer_profile(
    records: Records, titles: Mapping[MeasureName, str], model: str, baseline: BaselineKind, over: str
) -> Spec:
    """Ratios of one model's tensors in the network's order, a panel for each measure.

    Args:
        records: What ``profile_records`` gives.
        titles: Measure -> title of its panel.
        model: The model's name.
        baseline: Over which copies.
        over: What the copies are compared with, such as "pretrained".
    """
    panels = []
    keys = list(titles)
    for key in keys:
        last = key == keys[-1]
        x = alt.X(
            "order:Q",
            title="tensor, in the network's order (number)" if last else None,
            axis=alt.Axis(tickMinStep=1, labels=last, labelExpr="datum.value < 1 ? '' : datum.label", grid=False),
            scale=alt.Scale(zero=False, nice=False, padding=10),
        )
        unit = measure_named(key).unit
        y = ratio_axis([titles[key], f"ratio ({unit} / {unit})"])
        base = alt.Chart().encode(x=x, y=alt.Y(f"{key}:Q", **y))
        tooltip = [alt.Tooltip("order:Q", title="tensor"), alt.Tooltip("name:N"), alt.Tooltip("shape:N")]
        tooltip += [alt.Tooltip(f"{one}:Q", title=f"{titles[one]} ratio", format=".6~r") for one in keys]
        panels.append(
            alt.layer(
                reference_line(**y),
                base.mark_line(style="profile-line"),
                base.mark_point(filled=True, style="profile-point").encode(tooltip=tooltip),
                height=130,
                width=WIDTH,
            )
        )
    chart = alt.vconcat(*panels, data=named_data("layers"), spacing=14)
    subtitle = f"{over} over the mean of {BASELINE_LABELS[baseline]} copies; "
    subtitle += "tensors of two or more dimensions with sides of at least 4; dashed: 1"
    quantities = {measure_named(key).quantity for key in keys}
    quantity = quantities.pop() if len(quantities) == 1 else "Complexity"
    return specification(chart, f"{quantity} ratio by layer: {model}", subtitle, layers=records, one=[{}])


def correlation(found: Correlations, baseline: BaselineKind) -> Spec:
    """Spearman's coefficients as a heatmap, with the values in the cells."""
    order = list(found.labels)
    base = chart_on("pairs").encode(
        x=alt.X("column:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, orient="bottom")),
        y=alt.Y("row:N", sort=order, title=None),
    )
    colour = alt.Color(
        "rho:Q",
        title="Spearman's rho (no unit)",
        scale=alt.Scale(domain=[-1, 1], scheme="blueorange"),
        legend=alt.Legend(orient="right", gradientLength=220, tickCount=5, titleLimit=220, titleOrient="right"),
    )
    tooltip = [
        alt.Tooltip("row:N", title="figure"),
        alt.Tooltip("column:N", title="with"),
        alt.Tooltip("rho:Q", title="rho", format=".3f"),
        alt.Tooltip("n:Q", title="models"),
    ]
    cells = base.mark_rect().encode(color=colour, tooltip=tooltip)
    strong = alt.condition("abs(datum.rho) > 0.65", alt.value("#ffffff"), alt.value("#1f2328"))
    words = base.mark_text(fontSize=11).encode(text=alt.Text("rho:Q", format=".2f"), color=strong)
    counts = sorted({cell["n"] for cell in found.cells})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}, by pair"
    chart = alt.layer(cells, words, height=32 * len(order), width=min(WIDTH - 220, 62 * len(order)))
    subtitle = f"Spearman's rank correlation over models, {n}; ratios over {BASELINE_LABELS[baseline]} copies"
    known = [cell for cell in found.cells if cell["rho"] is not None]
    return specification(chart, "Do the measures agree?", subtitle, pairs=known)
