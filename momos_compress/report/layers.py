"""What the profile of a network's layers shows: the ratio of each tensor, in the network's order."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from momos_compress.errors import one_line
from momos_compress.measures.registry import MeasureName, measure_named
from momos_compress.report.ranks import ranked
from momos_compress.report.texts import NAME_LIMIT, significant
from momos_compress.study.flat_rows import shown_measures
from momos_compress.study.rows import BASELINES, LayerRow, Row
from momos_compress.study.settings import BaselineKind


def panels_of(rows: Iterable[Row]) -> dict[MeasureName, str]:
    """Measure -> title of its panel, for the measures of these rows that have one."""
    titles = {name: measure_named(name).panel for name in shown_measures(rows)}
    return {name: title for name, title in titles.items() if title is not None}


def profile_layers(row: Row) -> list[LayerRow]:
    """The tensors of a profile: those with a 2-D measure, as biases and norms start as constants."""
    return [layer for layer in row.layers if layer.complexity.matrix is not None]


def profile(row: Row, measures: Iterable[MeasureName]) -> dict[str, Any]:
    """One model's layers by column, as short as can be: names, shapes, and ratios by baseline and measure."""
    layers, keys = profile_layers(row), list(measures)
    return {
        "name": [one_line(layer.name, NAME_LIMIT) for layer in layers],
        "shape": ["x".join(map(str, layer.shape)) for layer in layers],
    } | {
        baseline: {key: [_rounded(layer.ratio(key, baseline)) for layer in layers] for key in keys}
        for baseline in BASELINES
    }


def profile_records(columns: Mapping[str, Any], baseline: BaselineKind) -> list[dict[str, Any]]:
    """A profile as one record for each layer, in the network's order; the page's script makes the same."""
    ratios = columns[baseline]
    return [
        {"order": order, "name": name, "shape": shape} | {key: ratios[key][order - 1] for key in ratios}
        for order, (name, shape) in enumerate(zip(columns["name"], columns["shape"], strict=True), 1)
    ]


def best_with_layers(rows: Sequence[Row], measure: MeasureName, baseline: BaselineKind) -> Row | None:
    """The row of the least ratio that has layers to show."""
    candidates = [row for row, _ in ranked(rows, measure, baseline)] + list(rows)
    return next((row for row in candidates if profile_layers(row)), None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else significant(value, 6)
