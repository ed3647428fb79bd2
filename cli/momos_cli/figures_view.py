"""The figures of outputs against the original's, as columns of tables."""

from collections.abc import Iterable
from typing import Any

from momos_compress.networks.fidelity import FIGURES

DISTORTION = "distortion"
"""What stands in the place of figures of outputs where no network was run."""


def shown_figures(rows: Iterable[Any]) -> dict[str, str]:
    """Which figures rows have, by the name of their attribute: the title of each one's column."""
    rows = list(rows)
    there = [name for name in FIGURES if any(getattr(row, name, None) is not None for row in rows)]
    return {name: name.replace("_", " ") for name in there or [DISTORTION]}


def figure(row: Any, name: str) -> str:
    """A figure of a row as its table shows it; nothing where the row has none."""
    value = getattr(row, name, None)
    return "" if value is None else f"{value:.4g}"
