"""The table of a report: every row of a study, as HTML that sorts by the values beside the text."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from momos_compress.common.units import binary_size, duration
from momos_compress.errors import one_line
from momos_compress.measures.registry import MeasureName, measure_named
from momos_compress.report.texts import name_of, ratio_text
from momos_compress.study.flat_rows import (
    entropy_columns,
    flat_records,
    plane_column,
    possible_columns,
    rate_columns,
    ratio_column,
    shown_measures,
)
from momos_compress.study.rows import BASELINES, Row
from momos_compress.study.settings import BaselineKind

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        head: Its head.
        key: The value that it sorts by.
        text: How a record's cell reads.
        numeric: Whether it sorts by number.
    """

    head: str
    key: str
    text: Callable[[Record], str]
    numeric: bool = True


def _columns(measures: Sequence[MeasureName]) -> list[Column]:
    shown = [
        Column("model", "model", lambda record: one_line(record["model"]), numeric=False),
        Column("status", "status", lambda record: str(record["status"]), numeric=False),
        Column("family", "family", lambda record: one_line(record["family"], 60), numeric=False),
        Column("parameters", "parameters", lambda record: f"{record['parameters']:,}"),
    ]
    for baseline in BASELINES:
        shown += [_ratio(name, baseline) for name in measures]
        if baseline == "reinitialised":
            shown += [_possible(name) for name in measures if measure_named(name).possible is not None]
    for name in measures:
        if measure_named(name).per_plane:
            key = plane_column(name, 1)
            shown.append(Column(f"{measure_named(name).axis} plane 1 ratio", key, _figure(key, ratio_text)))
    labels = {key: f"{label}, bits" for key, label in entropy_columns(measures).items()} | rate_columns()
    shown += [Column(label, key, _figure(key, lambda value: f"{value:.5f}")) for key, label in labels.items()]
    return [
        *shown,
        Column("sparsity", "sparsity", _figure("sparsity", lambda value: f"{100 * value:.3g} %")),
        Column("time", "seconds", _figure("seconds", duration)),
        Column("peak memory", "peak_memory_bytes", _figure("peak_memory_bytes", binary_size)),
        Column("error or warning", "note", lambda record: one_line(record["note"], 500), numeric=False),
    ]


def _ratio(measure: MeasureName, baseline: BaselineKind) -> Column:
    head = f"{measure_named(measure).label} ratio" + ("" if baseline == "reinitialised" else f", {baseline}")
    key = ratio_column(measure, baseline)
    return Column(head, key, _spread(key))


def _possible(measure: MeasureName) -> Column:
    low, high = possible_columns(measure)
    head = f"possible {measure_named(measure).axis} ratio"
    return Column(head, high, lambda record: f"{record[low]:.3g} to {ratio_text(record[high])}")


def _figure(key: str, text: Callable[[float], str]) -> Callable[[Record], str]:
    return lambda record: text(record[key])


def _spread(key: str) -> Callable[[Record], str]:
    def text(record: Record) -> str:
        mean, low, high = (record[name] for name in (key, f"{key}_low", f"{key}_high"))
        if record["seeds"] == 1:
            return ratio_text(mean)
        mean, low, high = (ratio_text(value, low, high) for value in (mean, low, high))
        return f"{mean} ({low} to {high})"

    return text


def rows_table(rows: Sequence[Row]) -> str:
    """The table as HTML, every text escaped; a column that no row has a value in is left out."""
    records = [
        {**record, "note": row.error or "; ".join(map(str, row.warnings)) or None}
        for row, record in zip(rows, flat_records(rows), strict=True)
    ]
    shown = [
        column
        for column in _columns(shown_measures(rows))
        if any(record.get(column.key) is not None for record in records)
    ]
    heads = "".join(
        f'<th scope="col" aria-sort="none" data-numeric="{int(column.numeric)}">'
        f'<button type="button">{html.escape(column.head)}</button></th>'
        for column in shown
    )
    body = "".join(_row(row, record, shown) for row, record in zip(rows, records, strict=True))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def failures(rows: Sequence[Row]) -> str:
    """The failed models with their errors, as an HTML list; empty where none failed."""
    texts = (f"<b>{html.escape(name_of(row))}</b>: {html.escape(one_line(row.error))}" for row in rows if row.error)
    items = "".join(f"<li>{text}</li>" for text in texts)
    return f'<ul class="failures">{items}</ul>' if items else ""


def _row(row: Row, record: Record, shown: Sequence[Column]) -> str:
    cells = [f'<th scope="row">{html.escape(name_of(row))}</th>']
    for column in shown[1:]:
        value = record.get(column.key)
        if value is None:
            cells.append(f'<td class="missing{"" if column.numeric else " text"}">–</td>')  # noqa: RUF001  a dash, as tables have it
        elif column.numeric:
            cells.append(f'<td data-value="{value!r}">{html.escape(column.text(record))}</td>')
        else:
            cells.append(f'<td class="text">{html.escape(column.text(record))}</td>')
    return f'<tr class="{row.status}">{"".join(cells)}</tr>'
