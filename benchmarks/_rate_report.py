"""Tables and figures of the rate-accuracy comparison, from its JSON lines."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
from _networks import MINILM, NAMES

from momos_compress.drawing.render import COLOURS, OTHER_COLOUR, Spec, render_svg

CURVES = {
    "calibrated": COLOURS[0],
    "synthetic": COLOURS[5],
    "data-free": COLOURS[2],
    "sklearn": COLOURS[7],
    "paper": COLOURS[4],
    "calibrated, packed": COLOURS[3],
    "scalar": COLOURS[8],
    "NNC": COLOURS[1],
    "NNC, repaired": COLOURS[6],
    "rounding": OTHER_COLOUR,
}
"""Every curve and its colour, in the order of the tables and legends."""

PEERS = ("NNC", "NNC, repaired", "rounding")

TITLES = {
    "resnet20_cifar10_jpeg": "ResNet-20 trained on JPEG CIFAR-10",
    "resnet20_cifar10": "The published ResNet-20 of CIFAR-10",
    "digits": "The embedded demo: a ResNet-8 of digits",
    "cifar_vit": "A small vision transformer of CIFAR-10",
    "cifar_mobilenet": "A small MobileNet of CIFAR-10",
    MINILM: "all-MiniLM-L6-v2",
}


@dataclass(frozen=True)
class Measure:
    """How a figure is shown. depth: how far below the original the picture goes. losses: what the summary allows."""

    name: str
    title: str
    digits: int
    depth: float
    losses: tuple[float, ...]


TOP1 = Measure("top1", "top-1 (%)", 2, 12, (0.5, 1, 2, 5))
COSINE = Measure("cosine", "mean cosine to the original's embeddings", 4, 0.13, (0.005, 0.01, 0.02, 0.05))
TICKS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60)
ROOM = 1.04
"""Factor by which the axis of ratios goes beyond the points."""


@dataclass(frozen=True)
class Point:
    """One configuration over its seeds."""

    curve: str
    setting: str
    rows: tuple[Mapping[str, Any], ...]
    measure: Measure

    def values(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if row.get(name) is not None]

    @property
    def ratio(self) -> float:
        return statistics.fmean(self.values("ratio"))

    @property
    def value(self) -> float:
        return statistics.fmean(self.values(self.measure.name))


def write_report(rows: Sequence[Mapping[str, Any]], figures: Path) -> None:
    """Print a section of Markdown for each network, and write ``figures/NETWORK.svg``."""
    figures.mkdir(parents=True, exist_ok=True)
    for network in NAMES:
        own = [row for row in rows if row["network"] == network]
        if not own:
            continue
        measure = TOP1 if TOP1.name in own[0]["original"] else COSINE
        original = own[0]["original"][measure.name]
        points = points_of(own, measure)
        print(f"\n## {TITLES[network]}\n")
        print(f"![{measure.title} by ratio]({figures.name}/{network}.svg)\n")
        _summary(points, measure, original)
        _table(points, measure)
        (figures / f"{network}.svg").write_bytes(render_svg(figure(network, points, measure, original)))


def points_of(rows: Sequence[Mapping[str, Any]], measure: Measure) -> list[Point]:
    """One for each curve and settings, curves in their order and each by ratio."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["curve"], json.dumps(row["settings"], sort_keys=True)), []).append(row)
    points = [Point(curve, _setting(curve, own[0]), tuple(own), measure) for (curve, _), own in groups.items()]
    return sorted(points, key=lambda point: (list(CURVES).index(point.curve), point.ratio))


def _setting(curve: str, row: Mapping[str, Any]) -> str:
    settings = row["settings"]
    if curve in PEERS:
        return ", ".join(f"{name} {value}" for name, value in settings.items())
    words = f"k {settings['k']:,}" if settings["s"] == 4 else f"s {settings['s']}, k {settings['k']:,}"
    weighed = settings["coding"] in (None, "ans") and not row["calibration"].startswith("none")
    return f"{words}, rate {settings['rate_weight']:g}" if weighed else words


def _spread(values: Sequence[float], digits: int) -> str:
    """The mean, with the range where there is one."""
    if not values:
        return ""
    mean, low, high = (f"{value:.{digits}f}" for value in (statistics.fmean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _table(points: Sequence[Point], measure: Measure) -> None:
    second = ["Spearman of pairs"] if measure is COSINE else []
    heads = ["curve", "setting", "seeds", "bytes", "ratio", "bits / weight", measure.title, *second]
    heads += ["index entropy", "seconds"]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for point in points:
        file_bytes, value = statistics.fmean(point.values("file_bytes")), point.values(measure.name)
        cells = [point.curve, point.setting, str(len(point.rows)), f"{file_bytes:,.0f}"]
        cells += [_spread(point.values("ratio"), 2), f"{32 / point.ratio:.3f}", _spread(value, measure.digits)]
        cells += [_spread(point.values("spearman"), measure.digits)] if second else []
        cells += [_spread(point.values("index_entropy"), 2), _spread(point.values("seconds"), 1)]
        print(f"| {' | '.join(cells)} |")


def _summary(points: Sequence[Point], measure: Measure, original: float) -> None:
    """The ratio of each curve at so much lost."""
    print(f"Original: {original:.{measure.digits}f}. Ratio at a loss of at most:\n")
    print(f"| curve | {' | '.join(f'{loss:g}' for loss in measure.losses)} |\n|{'---|' * (1 + len(measure.losses))}")
    for curve in CURVES:
        own = [(point.ratio, point.value) for point in points if point.curve == curve]
        if own:
            cells = [_ratio_at(own, original - loss) for loss in measure.losses]
            print(f"| {curve} | {' | '.join(cells)} |")


def _ratio_at(curve: Sequence[tuple[float, float]], least: float) -> str:
    """The largest ratio where the curve, straight over log ratio between points, still reaches this; >= at its end."""
    reached = [index for index, (_, value) in enumerate(curve) if value >= least]
    if not reached:
        return ""
    ratio, value = curve[reached[-1]]
    if reached[-1] + 1 == len(curve):
        return f">= {ratio:.1f}"
    next_ratio, next_value = curve[reached[-1] + 1]
    share = (value - least) / (value - next_value)
    return f"{ratio * (next_ratio / ratio) ** share:.1f}"


def figure(network: str, points: Sequence[Point], measure: Measure, original: float) -> Spec:
    """Figure against ratio, a line a curve; what lies below the picture is a triangle at its lower edge."""
    floor, top = original - measure.depth, max([original, *(point.value for point in points)])
    top += 0.04 * (top - floor)
    inside = [point.ratio for point in points if point.value >= floor]
    left, right = min(inside) / ROOM, max(inside) * ROOM
    records, below = [], []
    for point in points:
        values = point.values(measure.name)
        record = {"curve": point.curve, "ratio": point.ratio, "value": point.value}
        records.append(record | {"low": max(floor, min(values)), "high": max(floor, *values)})
        if point.value < floor and left <= point.ratio <= right:
            below.append({"curve": point.curve, "ratio": point.ratio, "value": floor})
    shown = [curve for curve in CURVES if any(point.curve == curve for point in points)]
    legend = alt.Legend(
        title=None, symbolType="stroke", symbolStrokeWidth=3, symbolSize=400, columns=6 if len(shown) <= 6 else 5
    )
    dashes = [[6, 4] if curve in PEERS else [1, 0] for curve in shown]
    colour = alt.Color("curve:N", scale=alt.Scale(domain=shown, range=[CURVES[c] for c in shown]), legend=legend)
    dash = alt.StrokeDash("curve:N", scale=alt.Scale(domain=shown, range=dashes), legend=legend)
    x = alt.X(
        "ratio:Q",
        title="compression ratio: fp32 tensors over the file, bytes (log scale)",
        scale=alt.Scale(type="log", domain=[left, right], nice=False),
        axis=alt.Axis(values=[tick for tick in TICKS if left <= tick <= right], format="~r", grid=False),
    )
    y_scale = alt.Scale(domain=[floor, top], nice=False, zero=False)
    y = alt.Y("value:Q", title=measure.title, scale=y_scale, axis=alt.Axis(tickCount=7))
    base = _chart(records).encode(x=x, color=colour)
    lines = base.mark_line(clip=True, strokeWidth=2).encode(y=y, strokeDash=dash)
    inner = base.transform_filter(alt.datum.value >= floor)
    bars = inner.mark_rule(clip=True, strokeWidth=1.2).encode(y=alt.Y("low:Q", scale=y_scale), y2="high:Q")
    dots = inner.mark_point(filled=True, size=45, opacity=1, clip=True).encode(y=y)
    at_edge = _chart(below).mark_point(filled=True, shape="triangle-down", size=90, opacity=1, yOffset=-6)
    layers = [_original(original, measure, right), lines, bars, dots, at_edge.encode(x=x, y=y, color=colour)]
    subtitle = ["Points: mean over seeds, with bars from least to greatest; dashed lines: peers."]
    hidden = _hidden(points, inside_of={point.curve for point in points if point.value >= floor}, measure=measure)
    if below:
        note = f"Triangles at the lower edge: points below it{f' ({hidden})' if hidden else ''}."
        subtitle.append(note)
    chart = alt.layer(*layers, height=400).properties(
        title=alt.Title(TITLES[network], subtitle=subtitle), description=f"{TITLES[network]}. {' '.join(subtitle)}"
    )
    spec: Spec = chart.to_dict()
    spec.pop("config", None)
    return spec


def _chart(records: Sequence[Mapping[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.Data(values=[dict(record) for record in records]))


def _original(original: float, measure: Measure, right: float) -> alt.LayerChart:
    base = _chart([{"value": original, "ratio": right, "words": f"original, {round(original, measure.digits):g}"}])
    y = alt.Y("value:Q")
    rule = base.mark_rule(style="reference").encode(y=y)
    words = base.mark_text(align="right", baseline="bottom", dy=-3, fontSize=12)
    return rule + words.encode(x="ratio:Q", y=y, text="words:N")


def _hidden(points: Sequence[Point], *, inside_of: set[str], measure: Measure) -> str:
    """The curves that have no point in the picture, with their figures."""
    parts = []
    for curve in CURVES:
        values = [point.value for point in points if point.curve == curve]
        if values and curve not in inside_of:
            shown = {f"{value:.{max(0, measure.digits - 1)}f}" for value in (min(values), max(values))}
            parts.append(f"{curve} {' to '.join(sorted(shown, key=float))}")
    return "; ".join(parts)
