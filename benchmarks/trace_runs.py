"""The trace of reports/trace.md: train float and binarised networks, measure every checkpoint, correlate.

    python benchmarks/trace_runs.py [--data ../shared/data] [--seeds 5] [--runs runs] [--out reports/trace]

Trains five seeds of each of two networks on two tasks, two processes at a time (about 25 minutes on two cores; runs
that are complete are kept), then runs `momos-compress trace` and prints its tables. Without the CIFAR-10 tars, digits
alone.
"""

import argparse
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
    subprocess.run([sys.executable, "-m", "momos_cli", "trace", *words, "-o", str(options.out)], check=True)


if __name__ == "__main__":
    main()
