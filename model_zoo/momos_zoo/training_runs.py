"""Train runs whose checkpoints are measured along training: ``python -m momos_zoo.training_runs --help``.

For arXiv 2505.20646 (does the BDM of binarised weights follow the training loss?). OUT/<task>-<weights>-seed<k>/ holds

    step-<6 digits>.safetensors   the weights: first the untouched initialisation, then denser early than late
    metrics.csv                   a row for each of them; losses are mean cross-entropies, accuracies per cent
    run.json                      the settings, and figures on test images for the last step; written last

``train_*`` are measured on up to 1,000 fixed training images without augmentation, ``validation_*`` on held-out images
that are never trained on, both at that very checkpoint and in eval mode. The split is the same for all seeds; a seed
draws the initial weights, the order of the images and their augmentation. The same command gives the same bytes on
one machine and version of torch, on the CPU; the number of threads is part of the command.

A binary run stores its latent float weights, under the names of the plain network: their signs are the binarised
weights, and the figures are those of the binarised network. A run that is complete is not trained again; one that was
interrupted starts anew.
"""

import argparse
import csv
import io
import json
import math
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.data import resolve_data_config
from torch import Tensor, nn

import momos_zoo  # noqa: F401  registers the networks and the digits
from momos_compress.common.atomic import atomic_writer
from momos_compress.data.registry import open_dataset
from momos_compress.errors import MomosError, one_line
from momos_compress.tensors.safetensors_writer import StoredTensor, tensor_data, write_safetensors
from momos_zoo.binary import build, latent_state
from momos_zoo.training_data import TASKS, Images, decode, load
from momos_zoo.training_loop import RunSettings, checkpoint_steps, measure, optimise, steps_per_epoch

COLUMNS = ("step", "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
MEASURED_IMAGES = 1000
WEIGHTS = ("float", "binary")


def train_run(settings: RunSettings, directory: Path, train: Images, validation: Images, test: Images | None) -> None:
    """Train one run into ``directory``; what an interrupted run left there goes first."""
    directory.mkdir(parents=True, exist_ok=True)
    for left in (*directory.glob("step-*.safetensors"), directory / "metrics.csv"):
        left.unlink(missing_ok=True)
    architecture, per_epoch = TASKS[settings.task].architecture, steps_per_epoch(settings)
    model = build(architecture, settings.weights, seed=settings.seed)
    config = resolve_data_config({}, model=model)
    mean, std = (torch.tensor(config[key]).view(-1, 1, 1) for key in ("mean", "std"))
    measured = Images(train.pixels[:MEASURED_IMAGES], train.targets[:MEASURED_IMAGES])
    rows: list[tuple[str, ...]] = []

    def keep(step: int) -> None:
        figures = (*measure(model, measured, mean, std), *measure(model, validation, mean, std))
        if not all(map(math.isfinite, figures)):
            raise MomosError(f"{settings.name}: a loss is not finite at step {step}: {figures[0]}, {figures[2]}")
        rows.append((str(step), f"{step / per_epoch:.4f}", *(f"{figure:.6f}" for figure in figures)))
        training = {"script": "momos_zoo.training_runs", "step": step, **asdict(settings)}
        save(model, directory / f"step-{step:06}.safetensors", architecture, config, training)
        write_text(directory / "metrics.csv", table(rows))

    steps = checkpoint_steps(settings.epochs * per_epoch, settings.checkpoints)
    keep(0)
    for step in optimise(model, train, settings, mean, std):
        if step in steps:
            keep(step)
    record: dict[str, Any] = {
        "settings": asdict(settings),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    if test is not None:
        loss, accuracy = measure(model, test, mean, std)
        record["test"] = {"loss": round(loss, 6), "accuracy": round(accuracy, 6), "images": len(test.targets)}
    write_text(directory / "run.json", json.dumps(record, indent=1) + "\n")


def save(model: nn.Module, path: Path, architecture: str, config: dict[str, Any], training: dict[str, Any]) -> None:
    """Write the weights with the metadata that lets them be loaded by name alone.

    The project's own writer: safetensors' orders the metadata at random, so that no two files are the same.
    """
    metadata = {
        "architecture": architecture,
        "num_classes": str(model.num_classes),
        **{key: ",".join(map(str, config[key])) for key in ("input_size", "mean", "std")},
        "training": json.dumps(training),
    }
    state = latent_state(model).items()
    stored = [StoredTensor(name, t.dtype, tuple(t.shape), partial(_data, t)) for name, t in state]
    write_safetensors(path, stored, metadata)


def _data(tensor: Tensor) -> list[bytes]:
    return [tensor_data(tensor)]


def table(rows: list[tuple[str, ...]]) -> str:
    """The rows as CSV under their header."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a small file atomically."""
    with atomic_writer(path) as file:
        file.write(text.encode())


def is_complete(settings: RunSettings, directory: Path) -> bool:
    """Whether the run is there; MomosError where another one is, which would otherwise be mixed up with this."""
    record = directory / "run.json"
    if not record.exists():
        return False
    try:
        found = dict(json.loads(record.read_text())["settings"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MomosError(
            f"{str(record)!r} is no record of a run; delete it to train that run again, or choose another --out"
        ) from error
    wanted = asdict(settings)
    if found != wanted:
        other = ", ".join(f"{key} {found.get(key)}" for key in wanted | found if found.get(key) != wanted.get(key))
        raise MomosError(
            f"{str(directory)!r} holds a run with other settings ({one_line(other)}); choose another --out"
        )
    return True


def parse(words: list[str] | None) -> argparse.Namespace:
    """The options, with the task's own defaults filled in."""
    parser = argparse.ArgumentParser(prog="momos_zoo.training_runs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--weights", choices=WEIGHTS, required=True)
    parser.add_argument("--seeds", type=int, default=5, help="trains the seeds 0, 1, ... (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--data", help="image folder or tar to train on; cifar10 needs it, digits come with the package"
    )
    parser.add_argument(
        "--test-data", help="images for the figures on the last step in run.json; digits have their own"
    )
    parser.add_argument("--epochs", type=int, help="default: the task's")
    parser.add_argument("--images", type=int, help="training images (default: the task's)")
    parser.add_argument("--checkpoints", type=int, default=RunSettings.checkpoints, help="default: %(default)s")
    parser.add_argument(
        "--threads", type=int, default=1, help="two runs side by side use two cores better (default: 1)"
    )
    options = parser.parse_args(words)
    task = TASKS[options.task]
    options.epochs = task.epochs if options.epochs is None else options.epochs
    options.images = task.images if options.images is None else options.images
    for name, least in (("seeds", 1), ("epochs", 1), ("checkpoints", 2), ("threads", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if (options.task == "digits") != (options.data is None):
        parser.error("--data goes with --task cifar10, which needs it: the training images as a folder or tar")
    if options.task == "digits" and options.test_data is None:
        options.test_data = "digits"
    return options


def run(options: argparse.Namespace) -> None:
    """Train every run that is not complete."""
    torch.set_num_threads(options.threads)
    settings = partial(
        RunSettings,
        task=options.task,
        weights=options.weights,
        data="digits" if options.data is None else Path(options.data).name,
        epochs=options.epochs,
        images=options.images,
        checkpoints=options.checkpoints,
    )
    runs = [settings(seed=seed) for seed in range(options.seeds)]
    missing = [each for each in runs if not is_complete(each, options.out / each.name)]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are complete", flush=True)
    if not missing:
        return
    train, validation = load(options.task, options.data, options.images)
    test = None
    if options.test_data is not None:
        dataset, _ = open_dataset(options.test_data)
        test = decode(dataset, list(range(len(dataset))), TASKS[options.task].architecture)
    for each in missing:
        directory = options.out / each.name
        train_run(each, directory, train, validation, test)
        last = (directory / "metrics.csv").read_text().splitlines()[-1]
        print(f"{each.name}: {last}", flush=True)


def main(words: list[str] | None = None) -> None:
    """A mistake is one line on standard error and exit code 2."""
    options = parse(words)
    try:
        run(options)
    except (MomosError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
