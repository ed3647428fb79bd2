"""Columns of Parquet and Arrow files, through pyarrow where it is installed."""

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from momos_compress.errors import MomosError, one_line

ARROW_SUFFIXES = (".parquet", ".arrow")
"""Names of such files end so."""

Batches = Iterator[tuple[int, Callable[[], Any]]]
"""Parts of a file in order: number of rows, and what reads the wanted column of them."""


def row_count(file: Path) -> int:
    """Count the rows of a file, without reading its values."""
    with _opened(file) as (_, batches):
        return sum(rows for rows, _ in batches(None))


def column_names(file: Path) -> list[str]:
    """Name the columns of a file."""
    with _opened(file) as (schema, _):
        return list(schema.names)


def column_values(
    file: Path, choose: Callable[[Any], str], rows: Sequence[int] | None = None
) -> Iterator[tuple[int, Any]]:
    """Read one column, a part of the file at a time.

    Args:
        file: A Parquet or Arrow file.
        choose: From the file's pyarrow schema, the column's name.
        rows: Rows to read, in ascending order; parts without such a row are not read. None reads all.

    Yields:
        (row, value), counted from 0.

    Raises:
        MomosError: The file is not sound, or pyarrow is not installed.
    """
    with _opened(file) as (schema, batches):
        start = 0
        for count, read in batches(choose(schema)):
            end = start + count
            hits = range(start, end) if rows is None else rows[bisect_left(rows, start) : bisect_left(rows, end)]
            if hits:
                column = read()
                yield from zip(hits, column.to_pylist() if rows is None else _some(column, start, hits), strict=True)
            start = end


def _some(column: Any, start: int, rows: Sequence[int]) -> Iterator[Any]:
    return (column[row - start].as_py() for row in rows)


def string_columns(schema: Any) -> list[str]:
    """Name the columns of strings in a pyarrow schema."""
    types = _pyarrow().types
    return [field.name for field in schema if types.is_string(field.type) or types.is_large_string(field.type)]


def image_columns(schema: Any) -> list[str]:
    """Name the columns of images as ``datasets`` stores them: a struct with the encoded file as ``bytes``."""
    types = _pyarrow().types
    return [field.name for field in schema if types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0]


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise MomosError("Parquet and Arrow files need pyarrow; pip install 'momos-compress[datasets]'") from error
    return pyarrow


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, Callable[[str | None], Batches]]]:
    """Open a file: its schema, and what goes through its parts; what pyarrow raises meanwhile becomes one line."""
    pyarrow = _pyarrow()
    try:
        if file.suffix.lower() == ".parquet":
            from pyarrow import parquet

            with parquet.ParquetFile(file) as table:
                yield table.schema_arrow, lambda column: _row_groups(table, column)
        else:
            with pyarrow.memory_map(str(file)) as source:
                # ``datasets`` writes streams; other writers put the same batches into a file with an index.
                indexed = source.read(6) == b"ARROW1"
                source.seek(0)
                reader = pyarrow.ipc.open_file(source) if indexed else pyarrow.ipc.open_stream(source)
                yield reader.schema, lambda column: _record_batches(reader, column, indexed)
    except (pyarrow.ArrowException, OSError) as error:
        raise MomosError(f"{file}: not a sound {file.suffix.lower()[1:]} file ({one_line(error)})") from error


def _row_groups(table: Any, column: str | None) -> Batches:
    for group in range(table.num_row_groups):
        yield table.metadata.row_group(group).num_rows, partial(_group_column, table, group, column)


def _group_column(table: Any, group: int, column: str | None) -> Any:
    return table.read_row_group(group, columns=[column]).column(0)


def _record_batches(reader: Any, column: str | None, indexed: bool) -> Batches:
    batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if indexed else reader
    for batch in batches:
        yield batch.num_rows, partial(batch.column, column)
