"""Do the measures agree? Spearman's rank correlation between the columns of a study, over its models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import spearmanr

from momos_compress.measures.registry import MeasureName, measure_named
from momos_compress.study.flat_rows import entropy_columns, flat_records, rate_columns, ratio_column, shown_measures
from momos_compress.study.rows import Row
from momos_compress.study.settings import BaselineKind

FEWEST = 3
"""Models that a rank correlation takes at least."""


@dataclass(frozen=True)
class Correlations:
    """Spearman's coefficients between labelled columns.

    Attributes:
        labels: The columns that vary.
        cells: One record for each pair (row, column, rho, n), both halves and the diagonal; rho is None where fewer
            than 3 models have both figures, or one of them is constant there.
        left_out: Label -> why a column is left out.
        models: How many took part.
    """

    labels: tuple[str, ...]
    cells: tuple[dict[str, Any], ...]
    left_out: dict[str, str]
    models: int

    @property
    def reason(self) -> str | None:
        """Why there is nothing to show; None where there is."""
        if self.models < FEWEST:
            return f"a rank correlation needs at least {FEWEST} measured models, not {self.models}"
        return None if len(self.labels) > 1 else "fewer than two figures vary over the models"


def _labels(measures: Sequence[MeasureName], baseline: BaselineKind) -> dict[str, str]:
    """Column of ``flat_records`` -> label."""
    records = {name: measure_named(name) for name in measures}
    labels = {ratio_column(name, baseline): f"{each.axis} ratio" for name, each in records.items()}
    labels |= {_first_plane(name): f"{each.axis} plane 1 ratio" for name, each in records.items() if each.per_plane}
    labels |= entropy_columns(measures) | rate_columns()
    return labels | {"sparsity": "sparsity", "parameters": "log10 parameters"}


def _first_plane(measure: MeasureName) -> str:
    """A column for the ratio of the most significant plane over the chosen copies."""
    return f"{measure}_first"


def correlations(rows: Sequence[Row], baseline: BaselineKind) -> Correlations:
    """Correlate ratios over these copies, entropies, rates and size, over the rows that were measured.

    A pair uses the models that have both figures. Parameters stand for their logarithm, which keeps their ranks.
    """
    good = [row for row in rows if row.status == "ok"]
    measures, records = shown_measures(good), flat_records(good)
    for name in measures:
        for row, record in zip(good, records, strict=True):
            planes = row.plane_ratios(baseline, name)
            record[_first_plane(name)] = planes[0].mean if planes else None
    kept: dict[str, list[float | None]] = {}
    left_out = {}
    for key, label in _labels(measures, baseline).items():
        values = [record[key] for record in records]
        known = [value for value in values if value is not None]
        if not known:
            left_out[label] = "not measured"
        elif len(known) < FEWEST:
            left_out[label] = f"known of {len(known)} only"
        elif len(set(known)) == 1:
            left_out[label] = "the same for every model"
        else:
            kept[label] = values
    cells = tuple(_cell(row, column, kept[row], kept[column]) for row in kept for column in kept)
    return Correlations(tuple(kept), cells, left_out, len(good))


def _cell(row: str, column: str, left: list[float | None], right: list[float | None]) -> dict[str, Any]:
    both = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    cell: dict[str, Any] = {"row": row, "column": column, "rho": None, "n": len(both)}
    if len(both) >= FEWEST and all(len(set(side)) > 1 for side in zip(*both, strict=True)):
        cell["rho"] = round(float(spearmanr(*zip(*both, strict=True)).statistic), 4)
    return cell
