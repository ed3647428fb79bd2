"""Rows from files that are not trusted: values that no study writes are refused before they reach a chart."""

import math
from collections.abc import Mapping

from momos_compress.errors import MomosError, one_line
from momos_compress.measures.registry import MEASURES, measure_named
from momos_compress.study.flat_rows import flat_records
from momos_compress.study.rows import BASELINES, Row

_TEXTS = {"model", "status", "family", "baseline", "revision", "error"}
"""Columns that hold no numbers."""


def check_row(row: Row) -> Row:
    """Return the row itself; MomosError where it holds values of a wrong kind."""
    try:
        sound = _has_sound_facts(row) and _has_sound_figures(row)
    except (TypeError, ValueError, ArithmeticError, AttributeError, KeyError, IndexError):
        sound = False
    if not sound:
        raise MomosError(
            f"the row of {one_line(row.model, 80)!r} holds values of a wrong kind; delete it and run again"
        )
    return row


def _has_sound_facts(row: Row) -> bool:
    texts = isinstance(row.model, str) and isinstance(row.version, str)
    texts = texts and isinstance(row.family, str | None) and isinstance(row.error, str | None)
    if not texts or row.status not in ("ok", "failed") or not isinstance(row.settings, Mapping):
        return False
    return row.status == "failed" or (
        row.complexity is not None and isinstance(row.parameters, int) and row.parameters > 0
    )


def _has_sound_figures(row: Row) -> bool:
    figures = [value for key, value in flat_records([row])[0].items() if key not in _TEXTS]
    panels = [name for name in MEASURES if measure_named(name).panel is not None]
    for layer in row.layers:
        if not isinstance(layer.name, str):
            return False
        figures += [layer.ratio(name, baseline) for name in panels for baseline in BASELINES]
    return all(figure is None or math.isfinite(figure) for figure in figures)
