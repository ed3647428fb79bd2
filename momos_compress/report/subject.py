"""The subject of a report: its rows, and the charts that are drawn of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from momos_compress.drawing.render import Spec
from momos_compress.measures.registry import MeasureName
from momos_compress.report import figures
from momos_compress.report.correlation import correlations
from momos_compress.report.families import families
from momos_compress.report.layers import panels_of, profile, profile_records
from momos_compress.report.ranks import plane_records, rank_records
from momos_compress.report.texts import name_of
from momos_compress.report.words import measured_over, seeds_of
from momos_compress.study.flat_rows import shown_measures
from momos_compress.study.rows import Row
from momos_compress.study.settings import BaselineKind


@dataclass(frozen=True)
class Subject:
    """What a report is about: the rows, and what is seen first.

    Attributes:
        rows: All rows of a study.
        measure: The ratio of Figure 2.
        baseline: The copies that it is taken over.
        model: The model whose layers are shown; None where none has any to show.
    """

    rows: Sequence[Row]
    measure: MeasureName
    baseline: BaselineKind
    model: Row | None

    @property
    def good(self) -> list[Row]:
        """Rows that were measured."""
        return [row for row in self.rows if row.status == "ok"]

    @property
    def measures(self) -> tuple[MeasureName, ...]:
        """The measures that can be chosen on the page."""
        return tuple(dict.fromkeys((*shown_measures(self.good), self.measure)))

    def figure2(self, measure: MeasureName, baseline: BaselineKind) -> Spec | None:
        """Ratios by rank; None where no model has this ratio."""
        shown = families(self.good)
        records = rank_records(self.good, measure, baseline, shown)
        over, seeds = measured_over(self.rows), seeds_of(self.good)
        return figures.figure2(records, shown, measure, baseline, over, seeds) if records else None

    def planes(self, baseline: BaselineKind) -> Spec | None:
        """QuBD's ratios by bit-plane; None where no model has them."""
        shown = families(self.good)
        records, medians = plane_records(self.good, baseline, shown)
        return figures.qubd_planes(records, medians, shown, baseline, measured_over(self.rows)) if records else None

    def layers(self, baseline: BaselineKind) -> Spec | None:
        """Ratios of the chosen model's layers; None where there is no such model."""
        if self.model is None:
            return None
        titles = panels_of(self.good)
        records = profile_records(profile(self.model, titles), baseline)
        return figures.layer_profile(records, titles, name_of(self.model), baseline, measured_over(self.rows))

    def correlation(self, baseline: BaselineKind) -> tuple[Spec | None, str, str]:
        """The heatmap or None, why there is none, and which figures are left out of it."""
        found = correlations(self.good, baseline)
        left_out = "; ".join(f"{label} ({reason})" for label, reason in found.left_out.items())
        left_out = f"Left out: {left_out}." if left_out and not found.reason else ""
        return (None, found.reason, left_out) if found.reason else (figures.correlation(found, baseline), "", left_out)
