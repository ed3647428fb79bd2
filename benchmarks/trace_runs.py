"""The trace of reports/trace.md: train float and binarised networks, measure every checkpoint, correlate.

    python benchmarks/trace_runs.py [--data ../shared/data] [--seeds 5] [--runs runs] [--out reports/trace]

Trains five seeds of each of two networks on two tasks, two processes at a time (about 25 minutes on two cores; runs
that are complete are kept), then runs `momos-compress trace` and prints the report's tables from its CSV files. Without
the CIFAR-10 tars, digits alone.
"""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

from _common import machine


def train(task: str, options: argparse.Namespace) -> None:
    command = [sys.executable, "-m", "momos_zoo.training_runs", "--task", task, "--seeds", str(options.seeds)]
    command += ["--out", str(options.runs)]
    if task == "cifar10":
        tars = [options.data / f"cifar10-{part}.tar" for part in ("train", "test")]
        if not all(tar.is_file() for tar in tars):
            print(f"left out, not here: {tars[0]}", file=sys.stderr)
            return
        command += ["--data", str(tars[0]), "--test-data", str(tars[1])]
    both = [subprocess.Popen([*command, "--weights", weights]) for weights in ("float", "binary")]
    if any(process.wait() for process in both):
        sys.exit("training failed")


VERDICTS = {"BDM closer": "**BDM**", "entropy closer": "**entropy**", "not told apart": "="}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("metric", "train_loss") == "train_loss"]


def heads(first: list[str], groups: list[str]) -> None:
    print(f"\n| {' | '.join([*first, *groups])} |\n|{'---|' * (len(first) + len(groups))}")


def tables(out: Path) -> None:
    """Paired differences (Pearson, Spearman), Spearman's correlations from step 25, and the last losses."""
    differences = rows_of(out / "differences.csv")
    groups = list(dict.fromkeys(row["group"] for row in differences))
    heads(["BDM", "entropy", "checkpoints"], groups)
    lines: dict[tuple[str, str, str], list[str]] = {}
    for row in differences:
        cell = ", ".join(f"{float(row[k]):+.2f} {VERDICTS[row[f'{k}_verdict']]}" for k in ("pearson", "spearman"))
        lines.setdefault((row["bdm"], row["entropy"], row["checkpoints"]), []).append(cell)
    for place, cells in lines.items():
        print(f"| {' | '.join([*place, *cells])} |")
    heads(["measure"], groups)
    by_measure: dict[str, list[str]] = {}
    for row in rows_of(out / "correlations.csv"):
        if row["checkpoints"] != "all checkpoints":
            mean, low, high = (
                row[key] and f"{float(row[key]):+.2f}" for key in ("spearman", "spearman_low", "spearman_high")
            )
            by_measure.setdefault(row["measure"], []).append(f"{mean} ({low} to {high})" if low else mean)
    for measure, cells in by_measure.items():
        print(f"| {' | '.join([measure, *cells])} |")
    last = {(row["group"], row["run"]): float(row["train_loss"]) for row in rows_of(out / "points.csv")}
    for group in groups:
        losses = [loss for (name, _), loss in last.items() if name == group]
        print(f"\n{group}: last training loss {min(losses):.4f} to {max(losses):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("reports/trace"))
    options = parser.parse_args()
    for task in ("digits", "cifar10"):
        train(task, options)
    print(f"{machine()}\n", flush=True)
    words = [str(options.runs), "--metric", "train_loss", "--metric", "validation_loss", "--from-step", "25"]
    command = [sys.executable, "-m", "momos_cli", "trace", *words, "-o", str(options.out), "--quiet"]
    subprocess.run(command, check=True)
    tables(options.out)


if __name__ == "__main__":
    main()
