"""A trace as tables: CSV files and JSON, and the words of their cells."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from momos_compress.common.atomic import atomic_writer
from momos_compress.common.csv_text import csv_bytes
from momos_compress.trace.correlations import Correlation, Difference, Window
from momos_compress.trace.intervals import CONFIDENCE, RunMean, verdict
from momos_compress.trace.run import Trace
from momos_compress.trace.settings import TraceSettings
from momos_compress.trace.traced import traced_figures

FILES = ("points.csv", "correlations.csv", "differences.csv", "trace.json")


def write_tables(trace: Trace, directory: Path) -> list[Path]:
    """Write the tables into a directory that is there, and return their paths."""
    contents = (
        csv_bytes(point_rows(trace)),
        csv_bytes([_row(each, trace.settings) for each in trace.correlations]),
        csv_bytes([_row(each, trace.settings) for each in trace.differences]),
        (json.dumps(record(trace), indent=1, allow_nan=False) + "\n").encode(),
    )
    paths = [directory / name for name in FILES]
    for path, content in zip(paths, contents, strict=True):
        with atomic_writer(path) as file:
            file.write(content)
    return paths


def record(trace: Trace) -> dict[str, Any]:
    """Everything as one JSON object."""
    return {
        "settings": dataclasses.asdict(trace.settings),
        "confidence": CONFIDENCE,
        "warnings": list(trace.warnings),
        "runs": [dataclasses.asdict(run) for run in trace.runs],
        "correlations": [dataclasses.asdict(each) for each in trace.correlations],
        "differences": [
            dataclasses.asdict(each)
            | {f"{kind}_verdict": verdict(getattr(each, kind)) for kind in ("pearson", "spearman")}
            for each in trace.differences
        ],
    }


def point_rows(trace: Trace) -> list[dict[str, Any]]:
    """One row for each run and step: its figures, then its metrics, as ``metric_<name>`` where the name is taken."""
    taken = {*traced_figures(), "group", "run", "step", "file"}
    columns = {name: f"metric_{name}" if name in taken else name for name in trace.metrics}
    return [
        {"group": run.group, "run": run.name, "step": point.step, "file": point.file}
        | dict(point.measures)
        | {column: point.metrics.get(name) for name, column in columns.items()}
        for run in trace.runs
        for point in run.points
    ]


def window_label(window: Window, settings: TraceSettings) -> str:
    """Say which checkpoints a window takes."""
    return "all checkpoints" if window == "all" else f"from step {settings.from_step}"


def interval_text(mean: RunMean, digits: int = 3) -> str:
    """Write a mean with its interval, as "+0.912 [+0.890, +0.934]"; "none" where there is none."""
    if mean.mean is None:
        return "none"
    text = f"{mean.mean:+.{digits}f}"
    if mean.low is None or mean.high is None:
        return text
    return f"{text} [{mean.low:+.{digits}f}, {mean.high:+.{digits}f}]"


def notes_of(item: Correlation | Difference) -> str:
    """The notes of both coefficients, each once."""
    return "; ".join(dict.fromkeys(note for note in (item.pearson.note, item.spearman.note) if note))


def _row(item: Correlation | Difference, settings: TraceSettings) -> dict[str, Any]:
    row: dict[str, Any] = {"group": item.group, "metric": item.metric}
    if isinstance(item, Correlation):
        row["measure"] = item.measure
    else:
        row |= {"bdm": item.bdm, "entropy": item.entropy}
    row["checkpoints"] = window_label(item.window, settings)
    row["runs"] = len(item.pearson.values)
    for kind, found in (("pearson", item.pearson), ("spearman", item.spearman)):
        row |= {kind: found.mean, f"{kind}_low": found.low, f"{kind}_high": found.high}
        if isinstance(item, Difference):
            row[f"{kind}_verdict"] = verdict(found)
    return row | {"note": notes_of(item)}
