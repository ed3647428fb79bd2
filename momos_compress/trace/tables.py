"""A trace as tables: CSV files, JSON, and the rows that the command line and the page show."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from momos_compress.common.atomic import atomic_writer
from momos_compress.common.csv_text import csv_bytes
from momos_compress.trace.points import MEASURES
from momos_compress.trace.run import Trace
from momos_compress.trace.settings import TraceSettings
from momos_compress.trace.statistics import CONFIDENCE, Correlation, Difference, Estimate, Window, verdict

LABELS: Mapping[str, str] = {
    "sign": "1-D sign BDM",
    "windowed": "windowed sign BDM",
    "matrix": "4 x 4 sign BDM",
    "qubd": "QuBD, all planes",
    "qubd_plane_1": "QuBD plane 1",
    "sign_entropy": "entropy, 1-D signs",
    "matrix_entropy": "entropy, 4 x 4 signs",
    "qubd_plane_1_entropy": "entropy, plane 1",
    "matrix_entropy_by_tensor": "entropy, 4 x 4, by tensor",
    "qubd_plane_1_entropy_by_tensor": "entropy, plane 1, by tensor",
    "gzip_sign_rate": "gzip rate of signs",
    "l2": "L2 norm",
    "sparsity": "sparsity",
    "flipped": "flipped signs",
}
"""What tables and figures call the measures."""

FILES = ("points.csv", "correlations.csv", "differences.csv", "trace.json")


def write_tables(trace: Trace, directory: Path) -> list[Path]:
    """Write ``FILES`` into a directory that is there; returns their paths."""
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
    """One row a run and step: its measures, then its metrics under ``metric_<name>`` where a measure has that name."""
    columns = {
        name: f"metric_{name}" if name in (*MEASURES, "group", "run", "step", "file") else name
        for name in trace.metrics
    }
    return [
        {"group": run.group, "run": run.name, "step": point.step, "file": point.file}
        | dict(point.measures)
        | {column: point.metrics.get(name) for name, column in columns.items()}
        for run in trace.runs
        for point in run.points
    ]


def window_label(window: Window, settings: TraceSettings) -> str:
    """Which checkpoints."""
    return "all checkpoints" if window == "all" else f"from step {settings.from_step}"


def interval_text(estimate: Estimate, digits: int = 3) -> str:
    """A mean with its interval, as "+0.912 [+0.890, +0.934]"; "none" where there is none."""
    if estimate.mean is None:
        return "none"
    text = f"{estimate.mean:+.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{estimate.low:+.{digits}f}, {estimate.high:+.{digits}f}]"


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
    for kind, estimate in (("pearson", item.pearson), ("spearman", item.spearman)):
        row |= {kind: estimate.mean, f"{kind}_low": estimate.low, f"{kind}_high": estimate.high}
        if isinstance(item, Difference):
            row[f"{kind}_verdict"] = verdict(estimate)
    return row | {"note": notes_of(item)}
