"""What a training run did."""

import dataclasses
from dataclasses import dataclass
from typing import Any

Figures = dict[str, dict[str, float]]
"""By stage (teacher, before, after): top1 in per cent, loss."""


@dataclass(frozen=True)
class FinetuneReport:
    """What a run did. Accuracies (top-1) and validation_loss by stage: teacher, before, after; in per cent.

    file_bytes_before: of the file it began with; None in mode paper. ratio: the dense source over the file.
    """

    directory: str
    output: str
    mode: str
    loss: str
    epochs: int
    best_epoch: int
    k: int
    s: int
    file_bytes: int
    file_bytes_before: int | None
    ratio: float | None
    validation: Figures
    test: Figures
    data: dict[str, Any]
    processes: int
    resumed: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)
