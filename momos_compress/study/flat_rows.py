"""Rows as flat records with the same keys: the columns of the CSV, the table and the JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from momos_compress.measures.rates import COMPRESSORS
from momos_compress.measures.registry import MEASURES, MeasureName, measure_named
from momos_compress.study.rows import BASELINES, Row
from momos_compress.study.settings import BaselineKind


def shown_measures(rows: Iterable[Row]) -> tuple[MeasureName, ...]:
    """The measures that have columns: the default ones, and the others that some row has a figure of."""
    found = [row.complexity for row in rows if row.complexity is not None]
    return tuple(
        name
        for name in MEASURES
        if measure_named(name).default or any(complexity.figure(name) is not None for complexity in found)
    )


def bits_column(measure: MeasureName) -> str:
    """The column of a measure's figure: "NAME_bits", or "NAME" where its unit is another one."""
    return f"{measure}_bits" if measure_named(measure).unit == "bits" else measure


def ratio_column(measure: MeasureName, baseline: BaselineKind) -> str:
    """The column of the mean ratio; with ``_low`` and ``_high`` after it, those of the seeds' range."""
    return f"{measure}_ratio" if baseline == "reinitialised" else f"{measure}_{baseline}_ratio"


def possible_columns(measure: MeasureName) -> tuple[str, str]:
    """The columns of the least and the greatest ratio that a measure could show."""
    return f"{measure}_possible_low", f"{measure}_possible_high"


def plane_column(measure: MeasureName, plane: int) -> str:
    """The column of the mean ratio of a bit-plane, 1 being the most significant."""
    return f"{measure}_plane_{plane}_ratio"


def entropy_columns(measures: Iterable[MeasureName]) -> dict[str, str]:
    """Column -> label of the entropies that are one number."""
    records = ((name, measure_named(name)) for name in measures)
    return {f"{name}_entropy": each.entropy.axis_label for name, each in records if each.entropy and not each.per_plane}


def rate_columns() -> dict[str, str]:
    """Column -> label of the compressors' rates."""
    kinds = (("sign", "signs"), ("raw", "float32"))
    return {f"{name}_{kind}_rate": f"{name} rate, {what}" for kind, what in kinds for name in COMPRESSORS}


def flat_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as records for a table; what is absent is None.

    For each measure M there are ``M_bits``, then ``M_ratio``, ``M_ratio_low`` and ``M_ratio_high`` against
    re-initialised copies (mean, least and greatest over seeds), and ``M_shuffled_ratio`` with the same. Then follow
    ``M_possible_low`` and ``M_possible_high`` where a range is known, ``M_plane_1_ratio`` and so on of measures by
    bit-plane, entropies, sparsity, norm, and rates.
    """
    measures = shown_measures(rows)
    planes = {
        name: max((len(row.plane_ratios(measure=name)) for row in rows), default=0)
        for name in measures
        if measure_named(name).per_plane
    }
    return [_flat(row, measures, planes) for row in rows]


def _flat(row: Row, measures: Sequence[MeasureName], planes: Mapping[MeasureName, int]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "model": row.model,
        "status": row.status,
        "family": row.family,
        "parameters": row.parameters,
        "seeds": len(row.reinitialised) or None,
    }
    for measure in measures:
        record |= _figures(row, measure)
    for measure in measures:
        if measure_named(measure).possible is not None:
            record |= zip(possible_columns(measure), row.ratio_range(measure) or (None, None), strict=True)
    for measure, count in planes.items():
        by_plane = row.plane_ratios(measure=measure)
        for plane in range(count):
            record[plane_column(measure, plane + 1)] = by_plane[plane].mean if plane < len(by_plane) else None
    own = row.complexity
    for key in entropy_columns(measures):
        record[key] = own.figure(key) if own else None
    record |= {key: getattr(own, key) if own else None for key in ("sparsity", "l2")}
    for kind in ("sign", "raw"):
        rates = (getattr(own, f"{kind}_rates") if own else None) or {}
        record |= {f"{compressor}_{kind}_rate": rates.get(compressor) for compressor in COMPRESSORS}
    return record | {
        "baseline": row.baseline,
        "revision": row.revision,
        "seconds": row.seconds,
        "peak_memory_bytes": row.peak_memory_bytes or None,
        "error": row.error,
    }


def _figures(row: Row, measure: MeasureName) -> dict[str, Any]:
    """The columns of one measure: its figure, and its ratios over both kinds of copies."""
    record: dict[str, Any] = {bits_column(measure): row.complexity.value(measure) if row.complexity else None}
    for baseline in BASELINES:
        column, ratio = ratio_column(measure, baseline), row.ratio(measure, baseline)
        record[column] = ratio.mean if ratio else None
        record[f"{column}_low"] = ratio.low if ratio else None
        record[f"{column}_high"] = ratio.high if ratio else None
    return record
