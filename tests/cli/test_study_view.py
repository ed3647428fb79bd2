"""What a study shows: progress on a terminal, and the table of its rows."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from test_rows import complexity, row

from momos_cli import study_view
from momos_cli.study_view import StudyProgress, show_rows
from momos_compress.study.events import Event
from momos_compress.study.rows import Row

FAILED = Row("gone", "failed", "f", "1", error="why")


def test_progress_tells_done_failed_in_flight_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    screen = Console(file=io.StringIO(), force_terminal=True, width=200)
    progress = StudyProgress(10, quiet=False, console=screen)
    for event in (
        Event("kept", "before", row("before")), Event("started", "a"), Event("started", "gone"),
        Event("finished", "gone", FAILED), Event("started", "[red]b[/red]"), Event("finished", "a", row()),
    ):  # fmt: skip
        progress(event)
    now = 1030.0
    with screen.capture() as capture:
        screen.print(progress._render())
    text = capture.get()
    assert "3 of 10 done; 1 of them before; 1 failed; 1 in flight" in text
    assert "4.0 models/min" in text  # two measured in half a minute; what was kept does not count
    assert "about 105.0 s left" in text
    assert "[red]b[/red]  30.0 s" in text  # a name is no markup


def test_nothing_is_shown_where_there_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with StudyProgress(1, quiet=False) as progress:
        progress(Event("started", "a"))
        progress(Event("finished", "a", row()))
    assert capfd.readouterr() == ("", "")


def test_the_table_ranks_models_and_counts_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), width=200, markup=False, highlight=False)
    monkeypatch.setattr(study_view, "console", screen)
    low = row("low", complexity=complexity(0.5))
    show_rows([row("high"), low, row("small", complexity=complexity(sign=None)), FAILED], "sign", Path("out"))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["low", "high", "small"]
    assert lines[1].split()[2:6] == ["0.32500", "0.25000", "to", "0.40000"]
    assert "possible" in lines[0]
    assert "too small" in lines[3]
    assert "4 models, 1 failed; rows in out/rows" in text
    show_rows([FAILED], "sign", Path("out"))
    assert "1 models, 1 failed" in screen.file.getvalue()  # type: ignore[attr-defined]
