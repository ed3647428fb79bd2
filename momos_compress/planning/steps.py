"""What the steps of a calibrated fit do with the network: how many samples, passes, rounds and epochs."""

import dataclasses
from dataclasses import dataclass, fields

from momos_compress.errors import MomosError


@dataclass(frozen=True)
class Steps:
    """The numbers that a calibrated fit was given time for.

    Attributes:
        moments: Samples that second moments are taken of.
        gradients: Samples that gradients are taken of.
        passes: Passes over the mosaic before the first round.
        rounds: Rounds of comparing the two networks and fitting again.
        compared: Samples on which the networks are compared in a round.
        again: Passes over the mosaic in a round.
        tuned: Samples on which norms and biases are tuned.
        epochs: Epochs over these; 0 tunes nothing.

    Examples:
        >>> from momos_compress.planning.steps import Steps
        >>> print(Steps(96, 64, 14, 4, 96, 4, 96, 8))
        moments=96,gradients=64,passes=14,rounds=4,compared=96,again=4,tuned=96,epochs=8
    """

    moments: int
    gradients: int
    passes: int
    rounds: int
    compared: int
    again: int
    tuned: int
    epochs: int

    def __str__(self) -> str:
        """As ``Settings.steps`` takes them."""
        return ",".join(f"{name}={number}" for name, number in vars(self).items())

    def fixed(self, given: str | None) -> "Steps":
        """These numbers, but for those that ``given`` fixes."""
        return dataclasses.replace(self, **read_steps(given))


LEAST = {"moments": 1, "gradients": 1, "compared": 1, "tuned": 1}
"""Least number of each step where that is not 0."""


def read_steps(text: str | None) -> dict[str, int]:
    """Read "passes=8,epochs=0" as numbers by name; nothing of None.

    Raises:
        MomosError: A step is unknown, or its number is none.
    """
    names = [each.name for each in fields(Steps)]
    out: dict[str, int] = {}
    for part in [] if text is None else text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in names:
            raise MomosError(f"`steps` names {name!r}; write it as passes=8,epochs=0, with {', '.join(names)}")
        if not number.isascii() or not number.isdigit() or int(number) < LEAST.get(name, 0):
            raise MomosError(f"`steps` needs a whole number of {name}, at least {LEAST.get(name, 0)}, not {number!r}")
        out[name] = int(number)
    return out
