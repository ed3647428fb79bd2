"""What a study tells while it runs, and what an engine is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from momos_compress.study.model import Job
from momos_compress.study.rows import Row


@dataclass(frozen=True)
class Event:
    """kind: "started", "finished" (its row is here) or "kept" (an earlier run's row still holds)."""

    kind: Literal["started", "finished", "kept"]
    model: str
    row: Row | None = None


Engine = Callable[[Sequence[str], Job], Iterator[Event]]
"""Measures each model in a process of its own and yields its events; a process that dies is a failed row."""
