"""The page of a trace: the curves and the tables in one HTML file that asks the network for nothing."""

import html
from collections.abc import Iterable, Sequence
from importlib.resources import files
from itertools import groupby

from momos_compress.trace.intervals import verdict
from momos_compress.trace.run import Trace
from momos_compress.trace.tables import interval_text, notes_of, window_label
from momos_compress.trace.traced import figure_labels

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Complexity over training</title>
<link rel="icon" href="data:,">
<style>{style}
.chart svg {{ max-width: 100%; height: auto; }}
td.text:last-child {{ min-width: 0; }}
</style>
</head>
<body>
<h1>Complexity over training</h1>
<dl class="facts">{facts}</dl>
{warnings}
<h2>Curves</h2>
<figure><div class="chart">{svg}</div></figure>
<h2>Is BDM closer to the metric than entropy is?</h2>
<p>|r(BDM)| - |r(entropy of the same blocks)| in each run, and its mean over runs with a 95 % interval. A verdict is
given where the interval of at least 5 runs leaves 0 out. The intervals are not corrected for being many. 4 x 4 BDM and
QuBD are summed over tensors: only the entropy by tensor is like for like, the other one is of the network's pooled
blocks.</p>
<div class="table">{differences}</div>
<h2>Correlations</h2>
<p>Over the checkpoints of each run; mean over runs with a 95 % interval (expanded percentile bootstrap over runs). All
that falls or rises steadily in training goes together with the loss: compare the measures with each other.</p>
<div class="table">{correlations}</div>
<p class="note">The same figures by run are in <a href="trace.json">trace.json</a>, the points in
<a href="points.csv">points.csv</a>.</p>
</body>
</html>
"""


def trace_page(trace: Trace, svg: str) -> str:
    """The page's HTML, in which names of runs and metrics are escaped.

    Args:
        trace: What was found.
        svg: The chart of its curves.
    """
    return _PAGE.format(
        style=files("momos_compress.report").joinpath("page.css").read_text(encoding="utf-8"),
        facts="".join(f"<dt>{name}</dt><dd>{html.escape(text)}</dd>" for name, text in _facts(trace)),
        warnings="".join(f'<p class="warning">Warning: {html.escape(text)}.</p>' for text in trace.warnings),
        svg=svg,
        differences=_differences(trace),
        correlations=_correlations(trace),
    )


def _facts(trace: Trace) -> list[tuple[str, str]]:
    by_group = groupby(trace.runs, key=lambda run: run.group)
    settings = trace.settings
    return [
        ("Runs", "; ".join(f"{group}: {sum(1 for _ in runs)}" for group, runs in by_group)),
        ("Checkpoints", f"{sum(len(run.points) for run in trace.runs):,}"),
        ("Metrics", ", ".join(trace.metrics)),
        ("Bootstrap", f"{settings.resamples:,} resamples of the runs, seed {settings.seed}"),
    ]


def _differences(trace: Trace) -> str:
    heads = ("group", "metric", "BDM", "against", "checkpoints", "Pearson", "verdict", "Spearman", "verdict", "note")
    labels, rows = figure_labels(), []
    for each in trace.differences:
        cells = [cell for one in (each.pearson, each.spearman) for cell in (interval_text(one), verdict(one))]
        where = window_label(each.window, trace.settings)
        rows.append((each.group, each.metric, labels[each.bdm], labels[each.entropy], where, *cells, notes_of(each)))
    return _table(heads, rows, numbers=(5, 7))


def _correlations(trace: Trace) -> str:
    heads = ("group", "metric", "measure", "checkpoints", "Pearson", "Spearman", "note")
    labels = figure_labels()
    rows = [
        (
            each.group,
            each.metric,
            labels[each.measure],
            window_label(each.window, trace.settings),
            interval_text(each.pearson),
            interval_text(each.spearman),
            notes_of(each),
        )
        for each in trace.correlations
    ]
    return _table(heads, rows, numbers=(4, 5))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    def cell(column: int, text: str) -> str:
        kind = "" if column in numbers else ' class="text"'
        return f"<td{kind}>{html.escape(text)}</td>"

    head = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(f"<tr>{''.join(cell(*pair) for pair in enumerate(row))}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
