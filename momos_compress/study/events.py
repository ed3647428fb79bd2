"""The events of a study, and what an engine is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from momos_compress.study.model import Job
from momos_compress.study.rows import Row


@dataclass(frozen=True)
class Event:
    """Something that happened to a model.

    Attributes:
        kind: "started"; "finished", with its row; "kept", with an earlier run's row that still holds.
        model: The model as it was asked for.
        row: Its row; None at its start.
    """

    kind: Literal["started", "finished", "kept"]
    model: str
    row: Row | None = None


Engine = Callable[[Sequence[str], Job], Iterator[Event]]
"""Measures each model in a process of its own and yields its events; a process that dies is a failed row."""
