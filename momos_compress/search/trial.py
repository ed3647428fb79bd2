"""One file that a search tried, and which of several serves a budget best."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from momos_compress.networks.fidelity import Fidelity
from momos_compress.search.budget import Budget


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and the file they gave.

    Attributes:
        s: Values in a block.
        k: Motifs asked for.
        rate_weight: What a bit of the file counted beside output error.
        file_bytes: Size of the file.
        ratio: Bytes of the source over ``file_bytes``.
        drop: Points lost of accuracy, or of ``fidelity``; None where they were not measured.
        error: Error of outputs (``Fidelity.error``), or of weights where no network was run.
        met: Whether the file is within the budget.
        seconds: Time of the trial.
        fidelity: How the file's outputs differ from the original's; None where no network was run.
    """

    s: int
    k: int
    rate_weight: float
    file_bytes: int
    ratio: float
    drop: float | None
    error: float | None
    met: bool
    seconds: float
    fidelity: Fidelity | None = None

    def to_json(self) -> dict[str, Any]:
        """Turn into a JSON-ready record."""
        error = None if self.error is None or math.isinf(self.error) else self.error
        return {**dataclasses.asdict(self), "error": error}


Attempt = Callable[[int, int, float], Trial]
"""Fits (s, k, rate_weight), writes the file and measures it."""


def preference(budget: Budget) -> Callable[[Trial], tuple[float, ...]]:
    """Make a key by which the trial that serves the budget best is the least.

    A trial within the budget comes before one outside it. Then, where the size is given, the less lost the better;
    where the loss is given, the smaller the better. Outside it, the closer the better.
    """

    def loss(trial: Trial) -> tuple[float, ...]:
        return tuple(math.inf if value is None else value for value in (trial.drop, trial.error))

    def key(trial: Trial) -> tuple[float, ...]:
        if budget.max_drop is not None:
            return (0.0, trial.file_bytes, *loss(trial)) if trial.met else (1.0, *loss(trial), trial.file_bytes)
        return (0.0, *loss(trial), trial.file_bytes) if trial.met else (1.0, trial.file_bytes)

    return key
