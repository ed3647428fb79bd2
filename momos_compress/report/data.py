"""What the figures and the page of a report show, as plain records: ranks, planes, layers."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from momos_compress.errors import MomosError, one_line
from momos_compress.measures.settings import Measure
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, TORCH_SUFFIXES
from momos_compress.study.rows import BASELINES, LayerRow, Ratio, Row, columns
from momos_compress.study.settings import BaselineKind

MEASURE_LABELS: dict[Measure, str] = {
    "sign": "1-D sign BDM",
    "windowed": "windowed sign BDM",
    "matrix": "4 x 4 sign BDM",
    "qubd": "QuBD, all planes",
}
GENERAL_NAMES = ("model", "weights", "checkpoint", "pytorch_model")
WEIGHTS_SUFFIXES = (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES)
BASELINE_LABELS: dict[BaselineKind, str] = {"reinitialised": "re-initialised", "shuffled": "shuffled"}
LAYER_LABELS = {"windowed": "windowed", "matrix": "4 x 4", "qubd": "QuBD plane 1"}
OTHER = "other"
NAMED_FAMILIES = 8
"""Families with a colour of their own; the rest share one more. Nine are as many as can be told apart."""

NAME_LIMIT = 90


def check_row(row: Row) -> Row:
    """The row itself; MomosError where a file gave values that no study writes, before they reach a chart."""
    texts = (row.model, row.version, row.family, row.error)
    sound = all(isinstance(text, str) for text in texts[:2]) and all(isinstance(t, str | None) for t in texts[2:])
    sound = sound and row.status in ("ok", "failed") and isinstance(row.settings, Mapping)
    if row.status == "ok":
        sound = sound and row.complexity is not None and isinstance(row.parameters, int) and row.parameters > 0
    try:
        figures = [value for key, value in columns([row])[0].items() if key not in _TEXTS]
        sound = sound and all(value is None or math.isfinite(value) for value in figures)
        for layer in row.layers:
            sound = sound and isinstance(layer.name, str)
            for key in LAYER_LABELS:
                ratios = [layer_ratio(layer, key, baseline) for baseline in BASELINES]
                sound = sound and all(ratio is None or math.isfinite(ratio) for ratio in ratios)
    except (TypeError, ValueError, ArithmeticError, AttributeError, KeyError, IndexError):
        sound = False
    if not sound:
        raise MomosError(
            f"the row of {one_line(row.model, 80)!r} holds values of a wrong kind; delete it and run again"
        )
    return row


_TEXTS = {"model", "status", "family", "baseline", "revision", "error"}


def layer_ratio(layer: LayerRow, measure: str, baseline: BaselineKind) -> float | None:
    """One tensor's BDM over the mean of its copies; of QuBD its first plane's. None where either is missing."""
    own: Any = getattr(layer.complexity, measure)
    other: Any = getattr(layer, baseline).get(measure)
    if measure == "qubd":
        own, other = own and own[0], other and other[0]
    return own / other if own is not None and other else None


def _short(model: str) -> str:
    """The last part of a name that tells something: without a file's ending, with its directory where it is general."""
    parts = [part for part in model.split("/") if part] or [model]
    for suffix in WEIGHTS_SUFFIXES:
        parts[-1] = parts[-1].removesuffix(suffix)
    return "/".join(parts[-2:] if parts[-1] in GENERAL_NAMES else parts[-1:])


def name_of(row: Row) -> str:
    """A model's name for a label: one printable line of bounded length."""
    return one_line(row.model, NAME_LIMIT)


def families(rows: Iterable[Row]) -> list[str]:
    """The families that get a colour, most frequent first; last "other" where there are more."""
    counts = Counter(_family(row) for row in rows if row.status == "ok")
    ordered = sorted(counts, key=lambda family: (-counts[family], family))
    if len(ordered) <= NAMED_FAMILIES:
        return ordered
    named = [family for family in ordered if family != OTHER]
    return [*named[:NAMED_FAMILIES], OTHER]


def _family(row: Row) -> str:
    return one_line(row.family or "unknown", 40)


def _coloured(row: Row, shown: Sequence[str]) -> str:
    return _family(row) if _family(row) in shown else OTHER


def ranked(rows: Iterable[Row], measure: Measure, baseline: BaselineKind) -> list[tuple[Row, Ratio]]:
    """Rows that have the ratio, least first; equal ones by model."""
    pairs = [(row, ratio) for row in rows if (ratio := row.ratio(measure, baseline))]
    return sorted(pairs, key=lambda pair: (pair[1].mean, pair[0].model))


def rank_records(
    rows: Iterable[Row], measure: Measure, baseline: BaselineKind, shown: Sequence[str]
) -> list[dict[str, Any]]:
    """Figure 2: one record a model, in the order of ranks."""
    records = []
    for rank, (row, ratio) in enumerate(ranked(rows, measure, baseline), 1):
        possible = row.sign_ratio_range
        records.append(
            {
                "rank": rank,
                "label": f"{rank}. {one_line(_short(row.model), 40)}",
                "model": name_of(row),
                "family": _coloured(row, shown),
                "its_family": _family(row),
                "parameters": row.parameters,
                "ratio": ratio.mean,
                "low": ratio.low,
                "high": ratio.high,
                "ratio_text": spread_text(ratio),
                "possible": f"{possible[0]:.3g} to {ratio_text(possible[1])}" if possible else "unknown",
            }
        )
    return records


def plane_records(
    rows: Sequence[Row], baseline: BaselineKind, shown: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """QuBD: a record for each model and plane, and the median over models for each plane (1 = most significant)."""
    records = []
    by_plane: dict[int, list[float]] = {}
    for key, row in enumerate(rows):
        for plane, ratio in enumerate(row.plane_ratios(baseline), 1):
            by_plane.setdefault(plane, []).append(ratio.mean)
            records.append(
                {
                    "key": key,
                    "model": name_of(row),
                    "family": _coloured(row, shown),
                    "plane": plane,
                    "ratio": significant(ratio.mean, 9),
                    "ratio_text": spread_text(ratio),
                }
            )
    medians = [
        {"plane": plane, "median": significant(statistics.median(values), 9), "models": len(values)}
        for plane, values in sorted(by_plane.items())
    ]
    return records, medians


def profile_layers(row: Row) -> list[LayerRow]:
    """The tensors of a profile: those with a 2-D measure. Biases and norms start as constants; a ratio says nothing."""
    return [layer for layer in row.layers if layer.complexity.matrix is not None]


def profile(row: Row) -> dict[str, Any]:
    """One model's layers by column, as short as can be: names, shapes, and ratios by baseline and measure."""
    layers = profile_layers(row)
    return {
        "name": [one_line(layer.name, NAME_LIMIT) for layer in layers],
        "shape": ["x".join(map(str, layer.shape)) for layer in layers],
    } | {
        baseline: {key: [_rounded(layer_ratio(layer, key, baseline)) for layer in layers] for key in LAYER_LABELS}
        for baseline in BASELINES
    }


def profile_records(columns_: Mapping[str, Any], baseline: BaselineKind) -> list[dict[str, Any]]:
    """A profile as one record a layer, in the network's order; the page's script does the same."""
    return [
        {"order": order, "name": name, "shape": shape}
        | {key: columns_[baseline][key][order - 1] for key in LAYER_LABELS}
        for order, (name, shape) in enumerate(zip(columns_["name"], columns_["shape"], strict=True), 1)
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else significant(value, 6)


def significant(value: float, digits: int) -> float:
    """A float of so many significant digits, to keep a page small."""
    return float(f"{value:.{digits}g}")


def ratio_text(value: float, *others: float) -> str:
    """A ratio with three digits of its distance from 1, where ratios of large networks lie: 0.9041, 0.99999866.

    others: ratios that are told beside it, with as many decimals; the one farthest from 1 says how many.
    """
    distance = max(abs(ratio - 1) for ratio in (value, *others))
    decimals = 4 if distance == 0 else 2 - math.floor(math.log10(distance))
    return f"{value:.{min(12, max(4, decimals))}f}"


def spread_text(ratio: Ratio) -> str:
    """A ratio with its least and greatest value over the seeds."""
    if len(ratio.values) == 1:
        return f"{ratio_text(ratio.mean)} (one seed)"
    mean, low, high = (ratio_text(value, ratio.low, ratio.high) for value in (ratio.mean, ratio.low, ratio.high))
    return f"{mean} ({low} to {high}, {len(ratio.values)} seeds)"


def best_with_layers(rows: Sequence[Row], measure: Measure, baseline: BaselineKind) -> Row | None:
    """The row of the least ratio that has layers to show."""
    candidates = [row for row, _ in ranked(rows, measure, baseline)] + list(rows)
    return next((row for row in candidates if profile_layers(row)), None)
