"""What the charts over models show, as plain records: ratios by rank, and ratios by bit-plane."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from momos_compress.measures.registry import MeasureName
from momos_compress.report.families import coloured_family, family_of
from momos_compress.report.texts import name_of, ratio_text, short_name, significant, spread_text
from momos_compress.study.rows import Ratio, Row
from momos_compress.study.settings import BaselineKind


def ranked(rows: Iterable[Row], measure: MeasureName, baseline: BaselineKind) -> list[tuple[Row, Ratio]]:
    """Rows that have the ratio, the least first, and equal ones in the order of their models."""
    pairs = [(row, ratio) for row in rows if (ratio := row.ratio(measure, baseline))]
    return sorted(pairs, key=lambda pair: (pair[1].mean, pair[0].model))


def rank_records(
    rows: Iterable[Row], measure: MeasureName, baseline: BaselineKind, shown: Sequence[str]
) -> list[dict[str, Any]]:
    """Figure 2: one record for each model, in the order of ranks.

    Args:
        rows: Rows of a study.
        measure: Which ratio.
        baseline: Over which copies.
        shown: Families that have a colour.
    """
    records = []
    for rank, (row, ratio) in enumerate(ranked(rows, measure, baseline), 1):
        possible = row.sign_ratio_range
        records.append(
            {
                "rank": rank,
                "label": f"{rank}. {short_name(row)}",
                "model": name_of(row),
                "family": coloured_family(row, shown),
                "its_family": family_of(row),
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
    """QuBD by bit-plane, 1 being the most significant.

    Args:
        rows: Rows of a study.
        baseline: Over which copies.
        shown: Families that have a colour.

    Returns:
        One record for each model and plane, and one for each plane with the median over the models.
    """
    records = []
    by_plane: dict[int, list[float]] = {}
    for key, row in enumerate(rows):
        for plane, ratio in enumerate(row.plane_ratios(baseline), 1):
            by_plane.setdefault(plane, []).append(ratio.mean)
            records.append(
                {
                    "key": key,
                    "model": name_of(row),
                    "family": coloured_family(row, shown),
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
