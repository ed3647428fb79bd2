"""How a report writes models, copies and ratios."""

import math

from momos_compress.errors import one_line
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, TORCH_SUFFIXES
from momos_compress.study.rows import Ratio, Row
from momos_compress.study.settings import BaselineKind

BASELINE_LABELS: dict[BaselineKind, str] = {"reinitialised": "re-initialised", "shuffled": "shuffled"}
GENERAL_NAMES = ("model", "weights", "checkpoint", "pytorch_model")
"""Names of files that tell nothing without their directory."""
WEIGHTS_SUFFIXES = (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES)
NAME_LIMIT = 90
"""Characters of a name in a label."""


def name_of(row: Row) -> str:
    """A model's name for a label: one printable line of bounded length."""
    return one_line(row.model, NAME_LIMIT)


def short_name(row: Row) -> str:
    """The last part of a model's name that tells something.

    It is without a file's ending, and with the directory where the file's name is a general one.
    """
    parts = [part for part in row.model.split("/") if part] or [row.model]
    for suffix in WEIGHTS_SUFFIXES:
        parts[-1] = parts[-1].removesuffix(suffix)
    return one_line("/".join(parts[-2:] if parts[-1] in GENERAL_NAMES else parts[-1:]), 40)


def significant(value: float, digits: int) -> float:
    """Round to significant digits, which keeps a page small."""
    return float(f"{value:.{digits}g}")


def ratio_text(value: float, *others: float) -> str:
    """Write a ratio with three digits of its distance from 1, where ratios of large networks lie.

    Args:
        value: The ratio.
        others: Ratios told beside it, written with as many decimals; the one farthest from 1 says how many.

    Returns:
        A text such as "0.9041" or "0.99999866".
    """
    distance = max(abs(ratio - 1) for ratio in (value, *others))
    decimals = 4 if distance == 0 else 2 - math.floor(math.log10(distance))
    return f"{value:.{min(12, max(4, decimals))}f}"


def spread_text(ratio: Ratio) -> str:
    """Write a ratio with its least and greatest value over the seeds."""
    if len(ratio.values) == 1:
        return f"{ratio_text(ratio.mean)} (one seed)"
    mean, low, high = (ratio_text(value, ratio.low, ratio.high) for value in (ratio.mean, ratio.low, ratio.high))
    return f"{mean} ({low} to {high}, {len(ratio.values)} seeds)"
