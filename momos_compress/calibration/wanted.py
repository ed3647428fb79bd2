"""What made-up inputs are made from, and the data they become."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from momos_compress.common.progress import Progress
from momos_compress.common.stopwatch import stopwatch
from momos_compress.data.batches import Inputs
from momos_compress.data.draws import CalibrationData

STAGE = "synthetic inputs"
"""What progress calls the making of inputs."""


@dataclass(frozen=True)
class Wanted:
    """What inputs are made up for.

    Attributes:
        model: The network, in eval mode on ``device``; it is left as it was.
        source: What it was opened from, for what lies beside it.
        samples: How many to make; None leaves the number to the kind of inputs, and to the time.
        held_out: Further ones to keep apart, as far as there are enough.
        seed: Decides every draw.
        device: Where the network is.
        seconds: Time that the making may take, about; None sets no limit. Which inputs are made depends on
            the machine's speed only where this limit is reached.
        tell: Told how far it is.
        trial: Whether only their number and shape count, as for a trial of what a run will take: what would take long
            is left out, and timed.
    """

    model: nn.Module
    source: str | None
    samples: int | None
    held_out: int
    seed: int
    device: str
    seconds: float | None
    tell: Progress
    trial: bool = False

    @property
    def network(self) -> str:
        """What the network is called in messages."""
        return type(self.model).__name__


def affordable(seconds: float | None, work: Callable[[], object]) -> float:
    """How often a piece of work fits into a time, by timing it once after a first time that warms up.

    Args:
        seconds: The time; None for no limit.
        work: The piece of work.
    """
    if seconds is None:
        return float("inf")
    work()
    elapsed = stopwatch()
    work()
    took = elapsed()
    return max(0.0, seconds - 2 * took) / max(took, 1e-6)


def batch_size(count: int, apart: int, together: int) -> int:
    """Inputs of a batch such that the held-out ones lie in the batches of the others, not in one of their own.

    Args:
        count: Inputs that are calibrated on.
        apart: Further ones.
        together: Inputs of a batch without the further ones, about.
    """
    batches = math.ceil(count / together)
    return math.ceil((count + apart) / batches)


def made_data(
    made: torch.Tensor, apart: int, kind: str, batch: Callable[[torch.Tensor], Inputs] = lambda rows: rows
) -> CalibrationData:
    """Wrap inputs that were made.

    Args:
        made: (n, ...), one a row.
        apart: How many of them, from the end, are held out.
        kind: What they are, in the plural.
        batch: From some rows what the network is called with.
    """

    def data(rows: torch.Tensor, words: str, further: CalibrationData | None = None) -> CalibrationData:
        return CalibrationData(words, len(rows), (), lambda positions: batch(rows[list(positions)]), further)

    first = len(made) - apart
    further = data(made[first:], f"{apart:,} further {kind}") if apart else None
    return data(made[:first], f"{first:,} {kind}", further)
