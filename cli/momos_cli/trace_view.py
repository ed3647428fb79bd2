"""What a trace found."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.table import Table

from momos_cli.render import console
from momos_compress.trace.correlations import Correlation
from momos_compress.trace.intervals import verdict
from momos_compress.trace.run import Trace
from momos_compress.trace.tables import interval_text, notes_of, window_label
from momos_compress.trace.traced import figure_labels


def show_trace(found: Trace) -> None:
    """Every correlation, and every difference between BDM and entropy, by group and metric."""
    for table in (*_correlations(found), *_differences(found)):
        console.print(table)
        console.print()


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.caption_justify = "left"
    return table


def _correlations(found: Trace) -> Iterator[Table]:
    """A table for each group and metric: a row for each measure, with Pearson's and Spearman's mean and interval."""
    labels = figure_labels()
    for (group, metric), items in groupby(found.correlations, key=lambda each: (each.group, each.metric)):
        windows = {window: {each.measure: each for each in part} for window, part in groupby(items, lambda e: e.window)}
        first = next(iter(windows["all"].values()))
        count = len(first.pearson.values)
        table = _table(f"{group}: correlation with {metric}, mean [95 % interval] over {_runs(count)}")
        table.add_column("measure")
        for window in windows:
            for kind in ("Pearson", "Spearman"):
                table.add_column(f"{kind}, {window_label(window, found.settings)}", justify="right")
        notes: dict[str, list[Correlation]] = {}
        for measure in windows["all"]:
            parts = [part[measure] for part in windows.values()]
            cells = [interval_text(each) for part in parts for each in (part.pearson, part.spearman)]
            table.add_row(labels[measure], *cells)
            for part in parts:
                notes.setdefault(notes_of(part), []).append(part)
        table.caption = "\n".join(f"{_where(notes[note], found)}: {note}" for note in notes if note)
        yield table


def _where(items: Sequence[Correlation], found: Trace) -> str:
    """Which rows and columns of a table a note is about."""
    labels = figure_labels()
    measures = list(dict.fromkeys(each.measure for each in items))
    windows = list(dict.fromkeys(each.window for each in items))
    names = "every measure" if len(measures) == len(labels) else ", ".join(labels[name] for name in measures)
    where = (
        "" if len(windows) > 1 or found.settings.from_step is None else f" ({window_label(windows[0], found.settings)})"
    )
    return names + where


def _differences(found: Trace) -> Iterator[Table]:
    """A table for each group and metric: each BDM against each entropy, with a verdict in words."""
    labels = figure_labels()
    for (group, metric), items in groupby(found.differences, key=lambda each: (each.group, each.metric)):
        what = f"{group}: is BDM closer to {metric} than entropy is?"
        table = _table(f"{what} |r(BDM)| - |r(entropy)|, mean [95 % interval]")
        for column in ("BDM", "against", "checkpoints", "Pearson", "", "Spearman", ""):
            table.add_column(column, justify="right" if column in ("Pearson", "Spearman") else "left")
        for each in items:
            cells = [cell for one in (each.pearson, each.spearman) for cell in (interval_text(one), verdict(one))]
            where = window_label(each.window, found.settings)
            table.add_row(labels[each.bdm], labels[each.entropy], where, *cells)
        yield table


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
