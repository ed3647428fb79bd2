"""What the combinations of a sweep gave."""

from rich.table import Table

from momos_cli.figures_view import figure, shown_figures
from momos_cli.render import console
from momos_compress.common.units import duration
from momos_compress.search.sweep import Sweep


def show_sweep(found: Sweep) -> None:
    """One line a combination."""
    table = Table(box=None, pad_edge=False)
    shown = shown_figures(found.rows)
    for column in ("c", "s", "rate weight", "k", "bytes", "ratio", "left", *shown.values(), "time"):
        table.add_column(column, justify="right")
    for row in found.rows:
        table.add_row(
            f"{row.c:g}",
            str(row.s),
            f"{row.rate_weight:g}",
            "failed" if row.k is None else f"{row.k:,}",
            "" if row.file_bytes is None else f"{row.file_bytes:,}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.score is None else f"{row.score:.2f}",
            *(figure(row, name) for name in shown),
            duration(row.seconds or 0.0),
        )
    console.print(table)
    measured = next((row.measured for row in found.rows if row.measured), None)
    notes = [] if measured is None else [f"left: {measured}, in points"]
    on = next((row.measured_on for row in found.rows if row.measured_on), None)
    notes += [] if on is None else [f"outputs compared on {on}"]
    notes.append(f"rows in {found.csv}" + (f"; {found.kept} of them from before" if found.kept else ""))
    if found.figure is not None:
        notes.append(f"figure in {found.figure}")
    console.print("\n" + "; ".join(notes))
