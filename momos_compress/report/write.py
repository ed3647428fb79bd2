"""A report on a study: a self-contained page, the figures as PNG and SVG, and all rows as CSV."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from momos_compress.common.csv_text import csv_bytes
from momos_compress.drawing.files import needs_extra, write_contents
from momos_compress.errors import MomosError, one_line
from momos_compress.measures.registry import MeasureName, measure_named
from momos_compress.report.check import check_row
from momos_compress.report.layers import best_with_layers, profile_layers
from momos_compress.report.words import cautions
from momos_compress.study.flat_rows import flat_records
from momos_compress.study.row_files import read_rows
from momos_compress.study.rows import BASELINES, Row
from momos_compress.study.settings import BaselineKind

if TYPE_CHECKING:
    from momos_compress.report.subject import Subject

FIGURES = ("figure2", "qubd_planes", "layers", "correlation")


@dataclass(frozen=True)
class ReportFiles:
    """The files of a report.

    Attributes:
        page: The page.
        csv: The rows.
        figures: PNG and SVG of each chart that there is.
        warnings: What to be careful of, and which charts were left out for which reason.
        ok: Models that were measured.
        failed: Models that failed.
    """

    page: Path
    csv: Path
    figures: tuple[Path, ...]
    warnings: tuple[str, ...]
    ok: int
    failed: int


def write_report(
    directory: Path,
    output: Path | None = None,
    *,
    measure: MeasureName = "sign",
    baseline: BaselineKind = "reinitialised",
    model: str | None = None,
) -> ReportFiles:
    """Report on the rows of a results directory.

    The same rows give the same bytes. Nothing is written before all is made; figures of an earlier report that are none
    of this one's are removed.

    Args:
        directory: The results directory of a study.
        output: Where the report goes; None takes its subdirectory "report".
        measure: The ratio of Figure 2 as PNG and SVG, and on the page at first.
        baseline: The copies that it is taken over.
        model: The model whose layers are shown; None takes the one of the least ratio.

    Raises:
        MomosError: No row was measured, ``model`` is none of them, a name is unknown, or the extra ``report`` is not
            installed.
    """
    measure_named(measure)
    if baseline not in BASELINES:
        raise MomosError(f"unknown baseline {baseline!r}; choose from {', '.join(BASELINES)}")
    rows = [check_row(row) for row in read_rows(directory)]
    good = [row for row in rows if row.status == "ok"]
    if not good:
        first = one_line(rows[0].error, 120)
        raise MomosError(f"{directory}: no row was measured, all {len(rows)} failed; the first: {first}")
    page, render, subject_of = _drawing()
    subject = subject_of(rows, measure, baseline, _profiled(good, model, measure, baseline))
    drawn, left_out = _figures(subject)
    warnings = [*cautions(rows), *left_out]
    contents: dict[str, bytes] = {
        "index.html": page.report_page(subject, cautions(rows)).encode("utf-8", "backslashreplace"),
        "rows.csv": csv_bytes(flat_records(rows)),
    }
    for name, spec in drawn.items():
        contents |= {f"{name}.png": render.render_png(spec), f"{name}.svg": render.render_svg(spec)}
    target = directory / "report" if output is None else output
    _write(target, contents)
    paths = {name: target / name for name in contents}
    pictures = tuple(path for path in paths.values() if path.suffix in (".png", ".svg"))
    failed = len(rows) - len(good)
    return ReportFiles(paths["index.html"], paths["rows.csv"], pictures, tuple(warnings), len(good), failed)


def _drawing() -> tuple[Any, Any, Any]:
    with needs_extra():
        from momos_compress.drawing import render
        from momos_compress.report import page
        from momos_compress.report.subject import Subject
    return page, render, Subject


def _profiled(good: Sequence[Row], model: str | None, measure: MeasureName, baseline: BaselineKind) -> Row | None:
    if model is None:
        return best_with_layers(good, measure, baseline)
    named = {row.model: row for row in good}
    if model not in named:
        close = difflib.get_close_matches(model, named, 3, 0.3) or sorted(named)[:3]
        hint = ", ".join(one_line(name, 60) for name in close)
        raise MomosError(f"`model` {one_line(model, 80)!r} is no measured model of this study; close ones: {hint}")
    if not profile_layers(named[model]):
        raise MomosError(f"`model` {one_line(model, 80)!r} has no tensors with a 2-D measure; choose another")
    return named[model]


def _figures(subject: "Subject") -> tuple[dict[str, Any], list[str]]:
    """The charts by name, and a line for each that there is not."""
    correlation, reason, _ = subject.correlation(subject.baseline)
    charts = {
        "figure2": (subject.figure2(subject.measure, subject.baseline), f"no model has the {subject.measure} ratio"),
        "qubd_planes": (subject.planes(subject.baseline), "no model has QuBD's ratios"),
        "layers": (subject.layers(subject.baseline), "no measured model has tensors with a 2-D measure"),
        "correlation": (correlation, reason),
    }
    drawn = {name: chart for name, (chart, _) in charts.items() if chart is not None}
    return drawn, [f"{name} is left out: {why}" for name, (chart, why) in charts.items() if chart is None]


def _write(target: Path, contents: dict[str, bytes]) -> None:
    write_contents(target, contents)
    for stale in (f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")):
        if stale not in contents:
            (target / stale).unlink(missing_ok=True)
