"""Progress on standard error: stage, rate and time left; nothing where that is no terminal."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        """Units a second, shortened."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        for unit in ("", "k", "M", "G"):
            if speed < 1000 or unit == "G":
                break
            speed /= 1000
        return Text(f"{speed:.1f}{unit}/s", style="progress.data.speed")


class StageProgress:
    """A bar for each stage, told by the library's progress function."""

    def __init__(self, *, quiet: bool) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "StageProgress":
        self._bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Advance ``stage`` by ``done`` of ``total``; a total of 0 means that nobody knows."""
        if stage not in self._tasks:
            for task in self._bars.tasks:
                self._bars.update(task.id, visible=False)
            self._tasks[stage] = self._bars.add_task(stage, total=total or None)
        self._bars.update(self._tasks[stage], advance=done)
