"""The table of a report: every row of a study, as HTML that sorts by the values beside the text."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from momos_compress.common.units import binary_size, duration
from momos_compress.errors import one_line
from momos_compress.report.data import MEASURE_LABELS, name_of, ratio_text
from momos_compress.study.rows import BASELINES, Row, columns, ratio_column

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column: its head, the key of the value that it sorts by, and how a record's cell reads."""

    head: str
    key: str
    text: Callable[[Record], str]
    numeric: bool = True


def _columns() -> list[Column]:
    shown = [
        Column("model", "model", lambda record: one_line(record["model"]), numeric=False),
        Column("status", "status", lambda record: str(record["status"]), numeric=False),
        Column("family", "family", lambda record: one_line(record["family"], 60), numeric=False),
        Column("parameters", "parameters", lambda record: f"{record['parameters']:,}"),
    ]
    for baseline in BASELINES:
        for measure, label in MEASURE_LABELS.items():
            column = ratio_column(measure, baseline)
            head = f"{label} ratio" if baseline == "reinitialised" else f"{label} ratio, {baseline}"
            shown.append(Column(head, column, _spread(column)))
        if baseline == "reinitialised":
            shown.append(Column("possible 1-D sign ratio", "sign_possible_high", _possible))
    shown.append(Column("QuBD plane 1 ratio", "qubd_plane_1_ratio", _figure("qubd_plane_1_ratio", ratio_text)))
    for head, key in (
        ("entropy of 12-bit blocks, bits", "sign_entropy"),
        ("entropy of 4 x 4 blocks, bits", "matrix_entropy"),
        *((f"{name} rate, signs", f"{name}_sign_rate") for name in ("gzip", "bz2", "lzma")),
        *((f"{name} rate, float32", f"{name}_raw_rate") for name in ("gzip", "bz2", "lzma")),
    ):
        shown.append(Column(head, key, _figure(key, lambda value: f"{value:.5f}")))
    return [
        *shown,
        Column("sparsity", "sparsity", _figure("sparsity", lambda value: f"{100 * value:.3g} %")),
        Column("time", "seconds", _figure("seconds", duration)),
        Column("peak memory", "peak_memory_bytes", _figure("peak_memory_bytes", binary_size)),
        Column("error or warning", "note", lambda record: one_line(record["note"], 500), numeric=False),
    ]


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


def _possible(record: Record) -> str:
    return f"{record['sign_possible_low']:.3g} to {ratio_text(record['sign_possible_high'])}"


def table(rows: Sequence[Row]) -> str:
    """The table's HTML, every text escaped. A column that no row has a value in is left out."""
    records = [
        {**record, "note": row.error or "; ".join(map(str, row.warnings)) or None}
        for row, record in zip(rows, columns(rows), strict=True)
    ]
    shown = [column for column in _columns() if any(record.get(column.key) is not None for record in records)]
    heads = "".join(
        f'<th scope="col" aria-sort="none" data-numeric="{int(column.numeric)}">'
        f'<button type="button">{html.escape(column.head)}</button></th>'
        for column in shown
    )
    body = "".join(_row(row, record, shown) for row, record in zip(rows, records, strict=True))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def failures(rows: Sequence[Row]) -> str:
    """The models that failed with their errors, as an HTML list; empty where none did."""
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
