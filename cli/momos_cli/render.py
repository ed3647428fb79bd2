"""What the tables of every command share: where they are shown, and a table of pairs."""

import sys

from rich.console import Console
from rich.table import Table

from momos_compress.common.units import binary_size
from momos_compress.errors import one_line

PIPE_WIDTH = 160
"""Columns where standard output is no terminal; nothing is cut to a window's width there."""

# Names come from files: they are shown as they are, never taken for markup.
console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False, markup=False)


def pairs(title: str, rows: list[tuple[str, str]]) -> Table:
    """A line a pair of name and value, under a title."""
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows:
        table.add_row(name, one_line(value))
    return table


def mosaic_size(size: int, blocks: int) -> str:
    """Bytes of a mosaic, in all and for each block."""
    return f"{binary_size(size)}, {8 * size / max(1, blocks):.2f} bits a block"
