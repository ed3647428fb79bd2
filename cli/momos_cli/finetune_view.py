"""What a training run did."""

from momos_cli.render import console, pairs
from momos_compress.common.units import binary_size, duration
from momos_compress.finetuning.outcome import FinetuneReport


def show_finetuned(report: FinetuneReport) -> None:
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
    console.print(pairs(f"{report.directory} -> {report.output}", rows))
