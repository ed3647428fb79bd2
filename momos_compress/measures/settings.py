"""What is measured of weights. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from momos_compress.settings import setting

Rates = Literal["none", "sign", "all"]


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured of weights, beside what always is.

    Examples:
        >>> import momos_compress as mc
        >>> mc.MeasureSettings(planes=4, also=("lz",)).also
        ('lz',)
    """

    planes: int = setting(8, help="Bit-planes of QuBD.", least=1, most=16)
    percentile: float | None = setting(
        None,
        help="QuBD quantises from percentile 100 - P to P. Default: from minimum to maximum.",
        above=50,
        most=100,
    )
    rates: Rates = setting(
        "sign",
        help="gzip, bz2 and lzma rates of the sign bits, or (all) of the float32 bytes too, which takes minutes on a "
        "large network.",
    )
    also: tuple[str, ...] = setting((), help="Measures to take beside the default ones, such as lz. Repeatable.")
