"""Do the measures agree? Spearman's rank correlation between the columns of a study, over its models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import spearmanr

from momos_compress.study.rows import Row, columns, ratio_column
from momos_compress.study.settings import BaselineKind

FEWEST = 3
"""Models under which a rank correlation says nothing."""


@dataclass(frozen=True)
class Correlations:
    """Spearman's coefficients between labelled columns.

    cells: one record a pair (row, column, rho, n), both halves and the diagonal; rho None where fewer than 3 models
    have both figures or one of them is constant there. left_out: label -> reason. models: how many took part.
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


def _columns(baseline: BaselineKind) -> dict[str, str]:
    """Column of ``rows.columns`` -> label."""
    labels = {
        ratio_column("sign", baseline): "1-D sign ratio",
        ratio_column("windowed", baseline): "windowed sign ratio",
        ratio_column("matrix", baseline): "4 x 4 sign ratio",
        ratio_column("qubd", baseline): "QuBD ratio",
        "qubd_first": "QuBD plane 1 ratio",
        "sign_entropy": "entropy of 12-bit blocks",
        "matrix_entropy": "entropy of 4 x 4 blocks",
    }
    for kind, what in (("sign", "signs"), ("raw", "float32")):
        labels |= {f"{name}_{kind}_rate": f"{name} rate, {what}" for name in ("gzip", "bz2", "lzma")}
    return labels | {"sparsity": "sparsity", "parameters": "log10 parameters"}


def correlations(rows: Sequence[Row], baseline: BaselineKind) -> Correlations:
    """Correlate ratios against ``baseline``, entropies, compressor rates and size over the rows that are ok.

    A logarithm keeps ranks, so that parameters stand for their log10. A pair uses the models that have both figures.
    """
    good = [row for row in rows if row.status == "ok"]
    records = columns(good)
    for row, record in zip(good, records, strict=True):
        planes = row.plane_ratios(baseline)
        record["qubd_first"] = planes[0].mean if planes else None
    kept: dict[str, list[float | None]] = {}
    left_out = {}
    for key, label in _columns(baseline).items():
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
