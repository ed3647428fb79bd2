"""Settings in an order of ever smaller files."""

import math
from dataclasses import dataclass

RATE_WEIGHTS = (1.5, 9.0)
"""Least and greatest rate weight of a search: between them, more motifs and a higher price of a bit pay off alike."""
FARTHEST = 50.0
"""Greatest change of log k along a path, so that its exponential stays a number."""


@dataclass(frozen=True)
class SettingsPath:
    """A path along which files get smaller: position t gives (k, rate_weight).

    The rate weight goes from its least to its greatest value at ``k`` motifs, by a factor of e for each step of t.
    Only outside of that k changes, by a factor of e too. Where both bounds are one, k alone does.

    Attributes:
        k: Motifs in the middle of the path.
        most_motifs: The most that there may be.
        rate_weights: Least and greatest rate weight.
    """

    k: int
    most_motifs: int
    rate_weights: tuple[float, float]

    def at(self, t: float) -> tuple[int, float]:
        """Give the settings at t; at 0, ``k`` motifs at a rate weight of 1 where that is allowed."""
        low, high = self.rate_weights
        inside = 0.0 if low == high else min(math.log(high), max(math.log(low), t))
        k = round(self.k * math.exp(min(FARTHEST, max(-FARTHEST, inside - t))))
        weight = high if low == high else math.exp(inside)
        return min(self.most_motifs, max(2, k)), round(min(high, max(low, weight)), 4)
