"""A study on the terminal: progress while it runs, and the table of its rows."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from momos_cli.render import console
from momos_compress.common.units import binary_size, duration
from momos_compress.errors import one_line
from momos_compress.measures.registry import MeasureName
from momos_compress.study.events import Event
from momos_compress.study.rows import Ratio, Row


class StudyProgress:
    """Done, failed, in flight, rate and time left, on standard error; nothing where that is no terminal."""

    def __init__(self, total: int, *, quiet: bool, console: Console | None = None) -> None:
        self._total = total
        self._done = self._failed = self._kept = 0
        self._in_flight: dict[str, float] = {}
        self._begin = time.monotonic()
        shown = console or Console(stderr=True)
        on = not quiet and (shown.is_terminal if console else sys.stderr.isatty())
        self._live = (
            Live(get_renderable=self._render, console=shown, transient=True, refresh_per_second=4) if on else None
        )

    def __enter__(self) -> "StudyProgress":
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Take note of what a study tells."""
        if event.kind == "started":
            self._in_flight[event.model] = time.monotonic()
            return
        self._in_flight.pop(event.model, None)
        self._done += 1
        self._kept += event.kind == "kept"
        self._failed += event.row is not None and event.row.status == "failed"

    def _render(self) -> RenderableType:
        elapsed, measured = time.monotonic() - self._begin, self._done - self._kept
        parts = [f"{self._done} of {self._total} done"]
        if self._kept:
            parts.append(f"{self._kept} of them before")
        if self._failed:
            parts.append(f"{self._failed} failed")
        parts += [f"{len(self._in_flight)} in flight", f"{duration(elapsed)} gone"]
        if measured:
            parts.append(f"{60 * measured / elapsed:.1f} models/min")
            parts.append(f"about {duration((self._total - self._done) * elapsed / measured)} left")
        now = time.monotonic()
        flights = [
            Text(f"  {one_line(model, 60)}  {duration(now - since)}", style="dim")
            for model, since in list(self._in_flight.items())[:8]
        ]
        bar = Table.grid()  # a bar alone ends no line
        bar.add_row(ProgressBar(self._total, self._done, width=40))
        return Group(bar, Text("; ".join(parts)), *flights)


def show_rows(rows: Sequence[Row], measure: MeasureName, directory: Path) -> None:
    """One line a model, least ratio first, failed ones last."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for column in ("parameters", f"{measure} ratio", "over seeds", "possible" if measure == "sign" else "", "shuffled",
                   "time", "peak memory"):  # fmt: skip
        table.add_column(column, justify="right")
    ratios = [(row, row.ratio(measure)) for row in rows]
    for row, ratio in sorted(ratios, key=lambda pair: (pair[1] is None, pair[1].mean if pair[1] else 0, pair[0].model)):
        if row.status == "failed":
            continue
        possible = row.sign_ratio_range if measure == "sign" else None
        shuffled = row.ratio(measure, "shuffled")
        table.add_row(
            one_line(row.model, 60),
            f"{row.parameters:,}",
            f"{ratio.mean:.5f}" if ratio else "too small",
            _spread(ratio),
            f"{possible[0]:.5f} to {possible[1]:.5f}" if possible else "",
            f"{shuffled.mean:.5f}" if shuffled else "",
            duration(row.seconds),
            binary_size(row.peak_memory_bytes),
        )
    failed = sum(row.status == "failed" for row in rows)
    if failed < len(rows):
        console.print(table)
    count = f"{len(rows)} models, {failed} failed" if failed else f"{len(rows)} models"
    console.print(f"\n{count}; rows in {directory / 'rows'}; momos-compress report {directory} draws them")


def _spread(ratio: Ratio | None) -> str:
    return f"{ratio.low:.5f} to {ratio.high:.5f}" if ratio and len(ratio.values) > 1 else ""
