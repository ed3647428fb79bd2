"""What is measured of weights. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

Measure = Literal["sign", "windowed", "matrix", "qubd"]


Rates = Literal["none", "sign", "all"]


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured of weights, beside what always is.

    planes: bit-planes of QuBD, 1 to 16. percentile: QuBD quantises over the percentiles 100 - p to p, not [min, max].
    rates: of gzip, bz2 and lzma; "sign" on the sign bits, "all" on the float32 bytes as well, which takes minutes on a
    large network.
    """

    planes: int = 8
    percentile: float | None = None
    rates: Rates = "sign"
