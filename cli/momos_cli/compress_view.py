"""What a compression did, what it would take, and what a search for a target tried."""

from collections import Counter

from rich.table import Table

from momos_cli.figures_view import DISTORTION, figure, shown_figures
from momos_cli.render import console, mosaic_size, pairs
from momos_compress.common.units import binary_size, duration
from momos_compress.compression.expected import Expected
from momos_compress.compression.report import Report
from momos_compress.search.trial import Trial
from momos_compress.search.within import BudgetReport


def show_report(report: Report) -> None:
    """What a compression did."""
    rows = [
        ("parameters", f"{report.parameters:,}, of which {report.compressed_parameters:,} as motifs"),
        ("blocks", f"{report.blocks:,} of s = {report.s}"),
        ("motifs", _motifs(report)),
        ("file", f"{binary_size(report.file_bytes)}, {report.bits_per_weight:.3f} bits per weight"),
        ("mosaic", f"{mosaic_size(report.mosaic_bytes, report.blocks)}, entropy {report.index_entropy:.2f}"),
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
    rows.append(("outputs", "not measured: no network was run" if report.fidelity is None else str(report.fidelity)))
    reasons = Counter(report.left_out.values())
    if reasons:
        rows.append(("passed through", "; ".join(f"{count} {reason}" for reason, count in reasons.most_common())))
        rows.append(
            ("", f"{report.stored_as_half} of them stored as float16, {report.stored_in_bytes} in a byte a value")
        )
    rows.append(("calibration", report.calibration))
    if report.steps is not None:
        rows.append(("", report.steps))
    rows.append(("device", _device(report)))
    console.print(pairs(f"{report.source} -> {report.output}", rows))
    stages = Table(box=None, pad_edge=False)
    stages.add_column("stage")
    stages.add_column("time", justify="right")
    stages.add_column("peak memory", justify="right")
    for stage in report.stages:
        stages.add_row(stage.name, duration(stage.seconds), binary_size(stage.peak_memory_bytes))
    stages.add_row("all", duration(report.seconds), binary_size(report.peak_memory_bytes), style="bold")
    console.print()
    console.print(stages)


def show_points(found: BudgetReport) -> None:
    """The settings that a search for a budget tried; the chosen ones are marked."""
    table = Table(box=None, pad_edge=False)
    shown = shown_figures(point.fidelity for point in found.trials)
    for column in ("", "s", "k", "rate weight", "bytes", "ratio", "drop", *shown.values(), "time"):
        table.add_column(column, justify="right")
    for number, point in enumerate(found.trials):
        table.add_row(
            "*" if number == found.chosen else "",
            str(point.s),
            f"{point.k:,}",
            f"{point.rate_weight:g}",
            f"{point.file_bytes:,}",
            f"{point.ratio:.2f}",
            "" if point.drop is None else f"{point.drop:.2f}",
            *((figure(point.fidelity, name) if name != DISTORTION else _error(point)) for name in shown),
            duration(point.seconds),
            style=None if point.met else "dim",
        )
    console.print()
    console.print(table)
    if found.measured is not None:
        console.print(f"drop: points of {found.measured}")
    compared = next((point.fidelity for point in found.trials if point.fidelity is not None), None)
    if compared is not None:
        console.print(f"outputs compared on {compared.measured_on}")


def show_plan(expected: Expected) -> None:
    """What a run would do, for --dry-run."""
    work, estimate = expected.work, expected.cost
    rows = [
        ("parameters", f"{work.parameters:,}; {len(work.selection.chosen)} tensors take part"),
        ("blocks", f"{work.blocks:,} of s = {work.settings.s}"),
        ("motifs", f"k = {work.k:,}, {work.settings.method} on {work.sampled_blocks:,} blocks"),
        ("file", f"about {binary_size(estimate.file_bytes)}, {estimate.bits_per_weight:.3f} bits per weight"),
        ("ratio", f"about {estimate.ratio:.2f}"),
        ("time", f"about {duration(estimate.seconds)}, from a trial on this machine"),
        ("memory", f"about {binary_size(estimate.peak_memory_bytes)}"),
    ]
    if expected.steps is not None:
        rows.append(("calibration", expected.steps))
    reasons = Counter(work.selection.left_out.values())
    rows += [("passed through", f"{count} {reason}") for reason, count in reasons.most_common()]
    console.print(pairs("dry run: nothing is written", rows))


def _error(trial: Trial) -> str:
    """The error of the weights, which is what a trial has where no network was run."""
    return "" if trial.error is None else f"{trial.error:.4g}"


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
