"""Reports as tables on standard output."""

import sys
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from momos_compress.common.units import binary_size, duration
from momos_compress.compression.report import Report
from momos_compress.container.inspection import mosaic_bytes
from momos_compress.container.reader import MomosFile
from momos_compress.errors import one_line
from momos_compress.planning.estimate import Estimate
from momos_compress.planning.plan import Plan
from momos_compress.search.budget import BudgetReport
from momos_compress.search.sweep import Sweep
from momos_compress.sources.architecture import Architecture

if TYPE_CHECKING:
    from momos_compress.finetuning.outcome import FinetuneReport

PIPE_WIDTH = 160
"""Columns where standard output is no terminal; nothing is cut to a window's width there."""

# Names come from files: they are shown as they are, never taken for markup.
console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def _pairs(title: str, rows: list[tuple[str, str]]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        table.add_row(name, one_line(value))
    return table


def show_report(report: Report) -> None:
    """What a compression did."""
    rows = [
        ("parameters", f"{report.parameters:,}, of which {report.compressed_parameters:,} as motifs"),
        ("blocks", f"{report.blocks:,} of s = {report.s}"),
        ("motifs", _motifs(report)),
        ("file", f"{binary_size(report.file_bytes)}, {report.bits_per_weight:.3f} bits per weight"),
        ("mosaic", f"{_mosaic(report.mosaic_bytes, report.blocks)}, entropy {report.index_entropy:.2f}"),
        ("ratio", f"{report.ratio:.2f} (source: {binary_size(report.source_bytes)})"),
        ("distortion", _distortion(report)),
    ]
    if report.bdm_before is not None:
        rows += [
            (
                "BDM ratio",
                f"{_figure(report.bdm_ratio_before)} before, {_figure(report.bdm_ratio_after)} after{_range(report)}",
            ),
            ("baseline", str(report.baseline)),
        ]
    if report.accuracy_before is not None and report.accuracy_after is not None:
        rows.append(
            ("accuracy", f"{report.accuracy_before:.2f} % before, {report.accuracy_after:.2f} % after ({report.data})")
        )
    reasons = Counter(report.left_out.values())
    if reasons:
        rows.append(("passed through", "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())))
        rows.append(
            ("", f"{report.stored_as_half} of them stored as float16, {report.stored_in_bytes} in a byte a value")
        )
    rows += [("calibration", report.calibration), ("device", _device(report))]
    console.print(_pairs(f"{report.source} -> {report.output}", rows))
    stages = Table(box=None, pad_edge=False)
    stages.add_column("stage")
    stages.add_column("time", justify="right")
    stages.add_column("peak memory", justify="right")
    for stage in report.stages:
        stages.add_row(stage.name, duration(stage.seconds), binary_size(stage.peak_memory_bytes))
    stages.add_row("all", duration(report.seconds), binary_size(report.peak_memory_bytes), style="bold")
    console.print()
    console.print(stages)


def _mosaic(size: int, blocks: int) -> str:
    return f"{binary_size(size)}, {8 * size / max(1, blocks):.2f} bits a block"


def show_points(found: BudgetReport) -> None:
    """The settings that a search for a budget tried; the chosen ones are marked."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "s", "k", "rate weight", "bytes", "ratio", "drop", "error", "time"):
        table.add_column(column, justify="right")
    for number, point in enumerate(found.points):
        table.add_row(
            "*" if number == found.chosen else "",
            str(point.s),
            f"{point.k:,}",
            f"{point.rate_weight:g}",
            f"{point.file_bytes:,}",
            f"{point.ratio:.2f}",
            "" if point.drop is None else f"{point.drop:.2f}",
            "" if point.error is None else f"{point.error:.4g}",
            duration(point.seconds),
            style=None if point.met else "dim",
        )
    console.print()
    console.print(table)
    if found.measured is not None:
        console.print(f"drop: points of {found.measured}")


def show_finetuned(report: "FinetuneReport") -> None:
    """What a training run did."""
    before = "" if report.file_bytes_before is None else f" (before: {binary_size(report.file_bytes_before)})"
    rows = [
        (
            "training",
            f"{report.mode}, loss {report.loss}, {report.epochs} epochs; best by validation: {report.best_epoch}",
        ),
        ("motifs", f"{report.k:,} of s = {report.s}"),
        ("file", f"{binary_size(report.file_bytes)}{before}"),
    ]
    if report.ratio is not None:
        rows.append(("ratio", f"{report.ratio:.2f}"))
    for part in ("validation", "test"):
        figures, shown = getattr(report, part), []
        for when in ("teacher", "before", "after"):
            if "top1" in figures.get(when, {}):
                shown.append(f"{figures[when]['top1']:.2f} % {when}")
        if shown:
            rows.append((part, f"{', '.join(shown)} ({report.data[part]['samples']:,} {report.data[part]['noun']})"))
    rows.append(("time", duration(report.seconds)))
    console.print(_pairs(f"{report.directory} -> {report.output}", rows))


def show_sweep(found: Sweep) -> None:
    """One line a combination."""
    table = Table(box=None, pad_edge=False)
    for column in ("c", "s", "rate weight", "k", "bytes", "ratio", "left", "error", "time"):
        table.add_column(column, justify="right")
    for row in found.rows:
        error = row.output_error if row.measured else row.distortion
        table.add_row(
            f"{row.c:g}",
            str(row.s),
            f"{row.rate_weight:g}",
            "failed" if row.k is None else f"{row.k:,}",
            "" if row.file_bytes is None else f"{row.file_bytes:,}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.score is None else f"{row.score:.2f}",
            "" if error is None else f"{error:.4g}",
            duration(row.seconds or 0.0),
        )
    console.print(table)
    measured = next((row.measured for row in found.rows if row.measured), None)
    notes = [] if measured is None else [f"left: {measured}, in points"]
    notes.append(f"rows in {found.csv}" + (f"; {found.kept} of them from before" if found.kept else ""))
    if found.figure is not None:
        notes.append(f"figure in {found.figure}")
    console.print("\n" + "; ".join(notes))


def _motifs(report: Report) -> str:
    text = f"k = {report.k:,}"
    if report.k != report.k_requested:
        text += f" ({report.k_requested:,} asked for; blocks repeat or motifs went unused)"
    trained = "drawn" if report.method == "random" else f"{report.method} on {report.sampled_blocks:,} blocks"
    return f"{text}, {trained}, seed {report.seed}; zero motif on {100 * report.zero_motif_share:.2f} % of blocks"


def _distortion(report: Report) -> str:
    decibel = "" if report.distortion_db is None else f", {report.distortion_db:.2f} dB"
    return f"{100 * report.relative_distortion:.3f} % of the energy{decibel}"


def _figure(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.5f}"


def _range(report: Report) -> str:
    found = report.bdm_ratio_range
    return "" if found is None else f"; possible at this size: {found[0]:.5f} to {found[1]:.5f}"


def _device(report: Report) -> str:
    backend = report.backend
    faiss = f"FAISS {backend['faiss']}" if backend["faiss"] else "without FAISS"
    return f"{report.device}, {faiss}{' on the GPU' if backend['used_gpu'] else ''}"


def show_plan(work: Plan, estimate: Estimate) -> None:
    """What a run would do, for --dry-run."""
    rows = [
        ("parameters", f"{work.parameters:,}; {len(work.selection.chosen)} tensors take part"),
        ("blocks", f"{work.blocks:,} of s = {work.settings.s}"),
        ("motifs", f"k = {work.k:,}, {work.settings.method} on {work.sampled_blocks:,} blocks"),
        ("file", f"about {binary_size(estimate.file_bytes)}, {estimate.bits_per_weight:.3f} bits per weight"),
        ("ratio", f"about {estimate.ratio:.2f}"),
        ("time", f"about {duration(estimate.seconds)}, from a trial search on this machine"),
        ("memory", f"about {binary_size(estimate.peak_memory_bytes)}"),
    ]
    reasons = Counter(work.selection.left_out.values())
    rows += [("passed through", f"{count} {reason}") for reason, count in reasons.most_common()]
    console.print(_pairs("dry run: nothing is written", rows))


def show_file(file: MomosFile, architecture: Architecture | None, rows: list[dict[str, object]]) -> None:
    """What a compressed file holds, tensor by tensor."""
    recipe = file.recipe
    extra = recipe.extra
    size = file.path.stat().st_size
    network = "none named" if architecture is None else f"{architecture.name} ({architecture.library})"
    pairs = [
        ("file", binary_size(size)),
        ("motifs", f"k = {recipe.k:,} of s = {recipe.s}, {extra.get('method')}, seed {extra.get('seed')}"),
        ("blocks", f"{recipe.blocks:,}"),
        ("mosaic", f"{_mosaic(mosaic_bytes(file), recipe.blocks)}, {recipe.coding}"),
        ("distortion", f"{100 * recipe.distortion / recipe.energy if recipe.energy else 0:.3f} % of the energy"),
        ("architecture", network),
    ]
    console.print(_pairs(str(file.path), pairs))
    table = Table(box=None, pad_edge=False)
    words = ("tensor", "shape", "dtype", "stored as")
    figures = ["bytes", "% of file", "blocks", "distortion", "% of it"]
    if any("output_error" in row for row in rows):
        figures += ["output error", "% of them"]
    for column in (*words, *figures):
        table.add_column(column, justify="left" if column in words else "right")
    for row in rows:
        shape = row["shape"]
        assert isinstance(shape, list)
        blocks, distortion = row["blocks"], row["distortion"]
        table.add_row(
            one_line(row["name"]),
            "x".join(map(str, shape)) or "scalar",
            str(row["dtype"]),
            str(row["stored"]),
            f"{row['bytes']:,}",
            _percent(row["byte_share"]),
            "" if blocks is None else f"{blocks:,}",
            "" if distortion is None else f"{distortion:.4g}",
            _percent(row["distortion_share"]),
            *([_short(row["output_error"]), _percent(row["output_share"])] if "output_error" in row else []),
        )
    console.print()
    console.print(table)


def _percent(share: object) -> str:
    return f"{100 * share:.1f}" if isinstance(share, float) else ""


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else ""
