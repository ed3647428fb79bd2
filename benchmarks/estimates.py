"""What --dry-run expects of a run beside what the run took: time and peak memory, each in a process of its own.

    python benchmarks/estimates.py [NAME ...] [--shared ../shared/data]

Names: digits, resnet20, lite0, minilm; all by default. The data are those of reports/rate_accuracy.md. Times of a
machine that runs anything else mean little.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from _common import machine


def runs(shared: Path) -> dict[str, list[str]]:
    """Words of the command line, by name."""
    lite0 = [str(shared / "efficientnet_lite0.safetensors"), "--arch", "tf_efficientnet_lite0", "--k", "1024"]
    resnet20 = [str(shared / "resnet20_cifar10_jpeg.safetensors"), "--k", "256"]
    return {
        "digits": ["digits", "--c", "0.05"],
        "resnet20": [*resnet20, "--calibrate", str(shared / "cifar10-train.tar")],
        "lite0": [*lite0, "--calibrate", str(shared / "imagenet-calibration.tar"), "--samples", "250"],
        "minilm": ["sentence-transformers/all-MiniLM-L6-v2", "--calibrate", "none"],
    }


def answer(words: list[str]) -> dict[str, object] | None:
    """The JSON that a command prints; None where it fails, whose error goes to the terminal."""
    command = [sys.executable, "-m", "momos_cli", *words, "--no-bdm", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    found: dict[str, object] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", default="estimates.momos.safetensors")
    options = parser.parse_args()
    print(machine())
    print("run: expected -> took, s; expected -> took, MiB")
    every = runs(options.shared)
    for name in options.names or every:
        expected = answer([*every[name], "--dry-run"])
        took = answer([*every[name], "-o", options.output])
        if expected is None or took is None:
            continue
        memory = [float(str(each["peak_memory_bytes"])) / 2**20 for each in (expected, took)]
        print(
            f"{name}: {expected['seconds']:.1f} -> {took['seconds']:.1f}; {memory[0]:.0f} -> {memory[1]:.0f}; "
            f"{took['steps']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
