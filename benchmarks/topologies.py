"""Accuracy against spectral gap at one density: digits MLPs with sparse topologies that are fixed before training.

    python benchmarks/topologies.py -o DIR [--density 0.1] [--seeds 8] [--epochs 30] [--figure FILE.svg]

Trains `digits_mlp` from random weights with each kind of topology and each seed, and prints the rank correlation of
test accuracy with the mean relative spectral gap and with the mean algebraic connectivity over layers, with bootstrap
intervals over runs; also within each kind, for the kinds differ in more than their gaps. Every block of a pattern may
have a motif of its own (c = 1). Runs are resumed.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from _common import machine
from scipy.stats import spearmanr

import momos_zoo  # noqa: F401
from momos_compress import Settings, open_checkpoint
from momos_compress.drawing.charts import chart_on, specification
from momos_compress.drawing.render import COLOURS, WIDTH, render_svg
from momos_compress.finetuning.log import read_record
from momos_compress.finetuning.run import finetune
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.setup import TrainingData

KINDS = ("random", "regular", "banded")
RESAMPLES = 10_000
FIGURES = {"gap": "relative spectral gap", "connectivity": "algebraic connectivity"}


def trained(options: argparse.Namespace, kind: str, seed: int) -> dict[str, Any]:
    directory = Path(options.output) / f"{kind}-seed{seed}"
    record = read_record(directory)
    if record is None or not record["finished"]:
        settings = FinetuneSettings(
            mode="paper", epochs=options.epochs, batch_size=64, loss="labels", optimiser="adamw", learning_rate=1e-3,
            weight_decay=1e-2, betas=(0.9, 0.999), topology=kind, density=options.density, seed=seed, save_every=0,
        )  # fmt: skip
        checkpoint = open_checkpoint("digits_mlp", pretrained=False, seed=seed)
        data = TrainingData("digits-train", 0.1, "digits")
        finetune(checkpoint, data, settings, directory, compression=Settings(c=1.0), resume=True)
        record = read_record(directory)
    assert record is not None
    layers = record["topology"]["layers"]
    return {
        "kind": kind,
        "seed": seed,
        "top1": record["result"]["test"]["after"]["top1"],
        "density": statistics.fmean(layer["density"] for layer in layers),
        "gap": statistics.fmean(layer["relative_spectral_gap"] for layer in layers),
        "connectivity": statistics.fmean(layer["algebraic_connectivity"] for layer in layers),
    }


def correlation(rows: list[dict[str, Any]], name: str) -> str:
    """Spearman's with a 95 % bootstrap interval."""
    values = np.array([[row[name], row["top1"]] for row in rows])
    if len(rows) < 4 or not np.ptp(values, axis=0).all():
        return "too few runs, or all alike"
    rng = np.random.default_rng(0)
    drawn = [values[rng.integers(0, len(values), len(values))] for _ in range(RESAMPLES)]
    kept = [spearmanr(*sample.T).statistic for sample in drawn if np.ptp(sample, axis=0).all()]
    low, high = np.percentile(kept, [2.5, 97.5])
    return f"{spearmanr(*values.T).statistic:.2f} ({low:.2f} to {high:.2f})"


def draw(rows: list[dict[str, Any]], path: Path, density: float) -> None:
    colour = alt.Color("kind:N", title="topology", scale=alt.Scale(domain=list(KINDS), range=list(COLOURS[:3])))
    y = alt.Y("top1:Q", title="test top-1 (%)", scale=alt.Scale(zero=False, padding=10))
    x = alt.X("gap:Q", title="mean relative spectral gap", scale=alt.Scale(zero=False, padding=10))
    chart = chart_on("runs").mark_point(filled=True, size=70, opacity=0.8).encode(x=x, y=y, color=colour)
    title, words = "Accuracy and spectral gap of sparse digits MLPs", f"{len(rows)} runs; density {density:g}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(render_svg(specification(alt.layer(chart, width=WIDTH, height=320), title, words, runs=rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="topologies")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    rows = [trained(options, kind, seed) for seed in range(options.seeds) for kind in KINDS]
    print(machine())
    print("| topology | runs | density | relative gap | connectivity | test top-1 |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        cells = [f"{statistics.fmean(row[name] for row in own):.3g}" for name in ("density", "gap", "connectivity")]
        accuracies = [row["top1"] for row in own]
        spread = f"{statistics.fmean(accuracies):.2f} ({min(accuracies):.2f} to {max(accuracies):.2f})"
        print(f"| {' | '.join([kind, str(len(own)), *cells, spread])} |")
    for name, words in FIGURES.items():
        print(f"Spearman of top-1 and {words}: {correlation(rows, name)} over all {len(rows)} runs")
        for kind in KINDS:
            print(f"  within {kind}: {correlation([row for row in rows if row['kind'] == kind], name)}")
    if options.figure:
        draw(rows, options.figure, options.density)
    (Path(options.output) / "rows.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
