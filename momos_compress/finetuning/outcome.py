"""What a training run did."""

import dataclasses
from dataclasses import dataclass
from typing import Any

StageFigures = dict[str, dict[str, float]]
"""Stage ("teacher", "before", "after") -> figures: "top1" in per cent, "loss"."""


@dataclass(frozen=True)
class FinetuneReport:
    """What a run did.

    Attributes:
        directory: Where everything was written.
        output: The file that it ends in.
        mode: "codebook" or "paper".
        loss: What was made small.
        epochs: Epochs trained.
        best_epoch: The epoch whose weights the file holds, counted from 1.
        k: Motifs in the file.
        s: Values in a block.
        file_bytes: Size of the file.
        file_bytes_before: Size of the file that the run began with; None in mode "paper".
        ratio: Bytes of the dense source over ``file_bytes``; None where the source is not known.
        validation: Figures on the validation samples.
        test: Figures on the test samples.
        data: What each set of samples was.
        processes: Processes that trained.
        resumed: Whether the run went on from a checkpoint.
        seconds: Time of the run.

    Examples:
        >>> import momos_compress as mc
        >>> "best_epoch" in mc.FinetuneReport.__dataclass_fields__
        True
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
    validation: StageFigures
    test: StageFigures
    data: dict[str, Any]
    processes: int
    resumed: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Turn into a JSON-ready record with every field."""
        return dataclasses.asdict(self)
