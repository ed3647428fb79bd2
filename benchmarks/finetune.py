"""The tables of reports/finetune.md: accuracy after training under the mosaic constraint, and what a step costs.

    python benchmarks/finetune.py targets --data ../shared/data -o DIR [--seeds 0,1,2] [--only K ...]
    python benchmarks/finetune.py against --data ../shared/data -o DIR [--seeds 0,1,2] [--epochs 1]
    python benchmarks/finetune.py zoo --data ../shared/data --zoo DIR -o DIR [--seeds 0,1,2]
    python benchmarks/finetune.py step [--model cifar_resnet20 ...]
    python benchmarks/finetune.py report -o DIR

`targets` compresses the ResNet-20 of --data at several rates, trains on cifar10-train.tar without its labels, and
measures the file on cifar10-test.tar. `against` does the same at fixed s and c, by this project's way and by the
paper's scheme, for as many epochs each; the paper's learning rate is the best of --learning-rates by validation at
s = 4, c = 0.05 and the first seed. `zoo` trains the files of --zoo (which `python -m momos_zoo.train_cifar` writes) for
an epoch: networks that nobody chose settings on, all as it is by default but the rate. `step` times forward and
backward of a dense network and of its mosaic in one run, and counts what they hold. Rows go to DIR/finetune.jsonl, and
what stands there is not run again. Steps are in bfloat16 unless --float32 is given; what is measured never is.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch
from _common import machine, spread
from _peers import append

import momos_zoo  # noqa: F401
from momos_compress import MomosFile, Settings, compress, load_model, open_checkpoint
from momos_compress.finetuning.run import finetune
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.setup import TrainingData
from momos_compress.modules.parametrised import parametrise
from momos_compress.tensors.records import from_state_dict

NETWORK = "resnet20_cifar10_jpeg"
Row = dict[str, Any]
RATES: tuple[tuple[int, float, int, float, str], ...] = (
    (1000, 7.15, 5, 4.0, "classes"),
    (340, 7.4, 3, 2.0, "ans"),
    (256, 12.8, 5, 2.0, "ans"),
)
"""k, rate weight, epochs, temperature and coding: about 20, 25 and 35 times smaller."""
ZOO, ZOO_RATE = ("cifar_mobilenet", "cifar_vit"), (400, 10.0)
"""Networks, and k and rate weight at which they are trained."""
SIZES, CAPACITIES = (2, 4, 8), (0.005, 0.01, 0.05, 0.1)
STEPS = 20


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def trained(
    options: argparse.Namespace, source: Path, settings: FinetuneSettings, compression: Settings, name: str
) -> dict[str, Any]:
    """One run in a directory of its own; its report, less what is not of interest."""
    data = Path(options.data)
    where = TrainingData(str(data / "cifar10-train.tar"), settings.validation, str(data / "cifar10-test.tar"))
    checkpoint = open_checkpoint(str(source))
    directory = Path(options.output) / "runs" / name
    report = finetune(checkpoint, where, settings, directory, compression=compression, resume=True).to_json()
    test, validation = report["test"], report["validation"]
    return {
        "ratio": report["ratio"],
        "file_bytes": report["file_bytes"],
        "before": test.get("before", {}).get("top1"),
        "after": test["after"]["top1"],
        "validation": validation["after"]["top1"],
        "teacher": test["teacher"]["top1"],
        "best_epoch": report["best_epoch"],
        "seconds": report["seconds"],
    }


def run_once(
    options: argparse.Namespace,
    source: Path,
    key: dict[str, Any],
    settings: FinetuneSettings,
    compression: Settings,
) -> Row:
    """The row of ``key``, which is trained where it is not there yet; source: the weights file."""
    path = Path(options.output) / "finetune.jsonl"
    for row in rows_of(path):
        if {name: row.get(name) for name in key} == key:
            return row
    name = "-".join(str(value).replace("/", "_") for value in key.values())
    row = {**key, **trained(options, source, settings, compression, name)}
    append(path, row)
    return row


def resnet20(options: argparse.Namespace) -> Path:
    return Path(options.data) / f"{NETWORK}.safetensors"


def targets(options: argparse.Namespace) -> None:
    for seed in options.seeds:
        for k, rate_weight, epochs, temperature, coding in RATES:
            if options.only and k not in options.only:
                continue
            epochs = options.epochs or epochs
            key = {"table": "targets", "k": k, "rate_weight": rate_weight, "epochs": epochs}
            key |= {"temperature": temperature, "coding": coding, "seed": seed}
            settings = settings_of(options, seed, epochs=epochs, temperature=temperature)
            compression = Settings(k=k, rate_weight=rate_weight, coding=coding, seed=seed)
            run_once(options, resnet20(options), key, settings, compression)


def settings_of(options: argparse.Namespace, seed: int, **others: Any) -> FinetuneSettings:
    return FinetuneSettings(seed=seed, workers=options.workers, bfloat16=not options.float32, **others)


def against(options: argparse.Namespace) -> None:
    epochs = options.epochs or 1

    def papers(s: int, c: float, seed: int, rate: float) -> Row:
        key = {**shared(s, c, seed), "way": "paper", "learning_rate": rate}
        settings = settings_of(options, seed, epochs=epochs, mode="paper", learning_rate=rate)
        return run_once(options, resnet20(options), key, settings, Settings(s=s, c=c, seed=seed))

    def shared(s: int, c: float, seed: int) -> Row:
        return {"table": "against", "s": s, "c": c, "epochs": epochs, "seed": seed}

    first = options.seeds[0]
    best = max(options.learning_rates, key=lambda rate: papers(4, 0.05, first, rate)["validation"])
    for seed in options.seeds:
        for s in SIZES:
            for c in CAPACITIES:
                papers(s, c, seed, best)
                key = {**shared(s, c, seed), "way": "codebook"}
                settings = settings_of(options, seed, epochs=epochs)
                run_once(options, resnet20(options), key, settings, Settings(s=s, c=c, seed=seed))


def zoo(options: argparse.Namespace) -> None:
    k, rate_weight = ZOO_RATE
    for seed in options.seeds:
        for network in ZOO:
            key = {"table": "zoo", "network": network, "k": k, "rate_weight": rate_weight}
            key |= {"epochs": options.epochs or 1, "seed": seed}
            settings = settings_of(options, seed, epochs=options.epochs or 1)
            compression = Settings(k=k, rate_weight=rate_weight, seed=seed)
            run_once(options, Path(options.zoo) / f"{network}.safetensors", key, settings, compression)


def step(options: argparse.Namespace) -> None:
    """Forward and backward of one batch, dense and as a mosaic, in turn."""
    print(machine())
    for name in options.model:
        dense = timm.create_model(name).train()
        size = dense.pretrained_cfg["input_size"] if name.startswith("cifar") else (3, 224, 224)
        batch = torch.randn(options.batch_size, *size)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "x.momos.safetensors"
            checkpoint = open_checkpoint(name, pretrained=False)
            compress(checkpoint, Settings(k=options.k, calibrate="none", bdm=False), path)
            network = parametrise(load_model(path), MomosFile(path))
            model = network.model.train()
        times: dict[str, list[float]] = {"dense": [], "mosaic": []}
        for number in range(STEPS + 2):
            for kind, net in (("dense", dense), ("mosaic", model)):
                start = time.perf_counter()
                net(batch).square().mean().backward()
                net.zero_grad()
                if number >= 2:
                    times[kind].append(time.perf_counter() - start)
        held = {kind: held_bytes(net, batch) for kind, net in (("dense", dense), ("mosaic", model))}
        ratios = [own / other for own, other in zip(times["mosaic"], times["dense"], strict=True)]
        values = sum(info.values for info in from_state_dict(dense.state_dict()).infos)
        print(f"{name}, {values:,} values, batch {options.batch_size}, k {options.k}: dense {spread(times['dense'])} s")
        print(f"  mosaic over dense: {spread(ratios)}")
        extra = (held["mosaic"] - held["dense"]) / (4 * values)
        print(f"  held in a step: dense {held['dense']:,} bytes, mosaic {extra:+.2f} times the weights' own")


def held_bytes(net: torch.nn.Module, batch: torch.Tensor) -> int:
    """Bytes of parameters, buffers, gradients and all that the backward pass needs; each storage once."""
    storages: dict[int, torch.UntypedStorage] = {}

    def hold(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    net.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(hold, lambda tensor: tensor):
        loss = net(batch).square().mean()
    loss.backward()
    for tensor in (*net.parameters(), *net.buffers(), *(p.grad for p in net.parameters() if p.grad is not None)):
        hold(tensor)
    return sum(storage.nbytes() for storage in storages.values())


def report(options: argparse.Namespace) -> None:
    rows = rows_of(Path(options.output) / "finetune.jsonl")
    print("| ratio | k, rate weight | epochs | temperature | coding | seeds | before | after |")
    print("|---|---|---|---|---|---|---|---|")
    columns = ("k", "rate_weight", "epochs", "temperature", "coding")
    for (k, weight, *others), own in grouped(rows, "targets", columns).items():
        cells = [shown(own, "ratio"), f"{k}, {weight:g}", *map(str, others), str(len(own))]
        cells.append(shown(own, "before"))
        print(f"| {' | '.join([*cells, shown(own, 'after')])} |")
    print("\n| network | k, rate weight | epochs | seeds | ratio | original | before | after |")
    print("|---|---|---|---|---|---|---|---|")
    for (network, k, weight, epochs), own in grouped(rows, "zoo", ("network", "k", "rate_weight", "epochs")).items():
        figures = " | ".join(shown(own, name) for name in ("ratio", "teacher", "before", "after"))
        print(f"| {network} | {k}, {weight:g} | {epochs} | {len(own)} | {figures} |")
    print("\n| s | c | epochs | seeds | ours: ratio, top-1 | paper: ratio, top-1 |\n|---|---|---|---|---|---|")
    pairs: list[tuple[Row, Row]] = []
    for (s, c, epochs), own in grouped(rows, "against", ("s", "c", "epochs")).items():
        ours = [row for row in own if row["way"] == "codebook"]
        paper = [row for row in own if row["way"] == "paper"]
        if not (ours and paper):
            continue
        by_rate = grouped(paper, "against", ("learning_rate",))
        paper = max(by_rate.values(), key=lambda group: (len(group), statistics.fmean(r["validation"] for r in group)))
        by_seed = {row["seed"]: row for row in paper}
        pairs += [(row, by_seed[row["seed"]]) for row in ours if row["seed"] in by_seed]
        figures = [f"{shown(group, 'ratio')}, {shown(group, 'after')}" for group in (ours, paper)]
        print(f"| {s} | {c:g} | {epochs} | {len(ours)} | {' | '.join(figures)} |")
    if pairs:
        points = [ours["after"] - paper["after"] for ours, paper in pairs]
        smaller = [paper["file_bytes"] / ours["file_bytes"] for ours, paper in pairs]
        print(f"\n{len(pairs)} pairs of one seed: ours {min(points):.1f} to {max(points):.1f} points above the paper's")
        print(f"in files {min(smaller):.2f} to {max(smaller):.2f} times smaller")


def grouped(
    rows: list[dict[str, Any]], table: str, keys: tuple[str, ...]
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["table"] == table:
            groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return dict(sorted(groups.items()))


def shown(rows: list[dict[str, Any]], name: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    if not values:
        return ""
    mean, low, high = (f"{value:.2f}" for value in (statistics.fmean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("targets", "against", "zoo", "step", "report"))
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--zoo", default="zoo")
    parser.add_argument("-o", "--output", default="finetune-runs")
    parser.add_argument("--seeds", type=lambda text: [int(part) for part in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--only", type=int, nargs="+")
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.1, 0.03, 0.01, 0.001])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--model", nargs="+", default=["cifar_resnet20", "vit_tiny_patch16_224"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--k", type=int, default=400)
    options = parser.parse_args()
    {"targets": targets, "against": against, "zoo": zoo, "step": step, "report": report}[options.what](options)


if __name__ == "__main__":
    main()
