"""Train a small CIFAR-10 network and write its weights: ``python -m momos_zoo.train_cifar --help``.

Trains on the images that ``training_data.split`` does not hold out, shifted and mirrored at random, and writes the file
anew after every epoch, so that there is a usable one at any time. The held-out images are measured and decide nothing:
the last epoch is the result. The same command gives the same bytes on one machine and version of torch, on the CPU.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from timm.data import resolve_data_config
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

import momos_zoo  # noqa: F401  registers the networks
from momos_compress.common.atomic import check_writable
from momos_compress.data.registry import open_dataset
from momos_compress.errors import MomosError
from momos_zoo.binary import build
from momos_zoo.training_data import TASKS, Images, decode, split
from momos_zoo.training_loop import RunSettings, measure, optimise, steps_per_epoch
from momos_zoo.training_runs import save

TASK = "cifar10"
SUFFIX = ".safetensors"
LABEL_SMOOTHING = 0.1


@dataclass(frozen=True)
class Recipe:
    """How a network trains. bfloat16: the matrix products of a step; depthwise convolutions lose time by it."""

    epochs: int
    batch_size: int
    learning_rate: float
    bfloat16: bool = False


RECIPES = {
    "cifar_vit": Recipe(epochs=14, batch_size=128, learning_rate=1e-3, bfloat16=True),
    "cifar_mobilenet": Recipe(epochs=17, batch_size=64, learning_rate=3e-3),
}


def smoothed_loss(model: nn.Module, images: Tensor, targets: Tensor, *, bfloat16: bool) -> Tensor:
    """Mean cross-entropy with smoothed labels."""
    with ExitStack() as contexts:
        if bfloat16:
            contexts.enter_context(torch.autocast("cpu", torch.bfloat16))
            contexts.enter_context(sdpa_kernel(SDPBackend.MATH))  # the fused one's backward is slow in bfloat16
        logits = model(images)
    return functional.cross_entropy(logits.float(), targets, label_smoothing=LABEL_SMOOTHING)


def load(data: str, architecture: str) -> tuple[Images, Images]:
    """All images that are not held out, and those that are."""
    dataset, _ = open_dataset(data)
    share = TASKS[TASK].validation_share
    held_out = round(len(dataset) * share)
    if not held_out:
        raise MomosError(f"{data}: {len(dataset)} images are too few to hold out {share:.0%} of them")
    train, validation = split(len(dataset), len(dataset) - held_out, share)
    return decode(dataset, train, architecture), decode(dataset, validation, architecture)


def train(architecture: str, data: str, out: Path, *, epochs: int, seed: int) -> None:
    """Train and write ``out`` after every epoch, with a line on standard output for each."""
    recipe = RECIPES[architecture]
    images, validation = load(data, architecture)
    settings = RunSettings(
        task=TASK,
        weights="float",
        seed=seed,
        data=Path(data).name,
        epochs=epochs,
        images=len(images.targets),
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
    )
    model = build(architecture, settings.weights, seed=seed)
    config = resolve_data_config({}, model=model)
    mean, std = (torch.tensor(config[key]).view(-1, 1, 1) for key in ("mean", "std"))
    per_epoch, start = steps_per_epoch(settings), time.monotonic()
    for step in optimise(model, images, settings, mean, std, partial(smoothed_loss, bfloat16=recipe.bfloat16)):
        if step % per_epoch == 0:
            epoch = step // per_epoch
            loss, accuracy = measure(model, validation, mean, std)
            training = {"script": "momos_zoo.train_cifar", "epoch": epoch, **asdict(settings), **asdict(recipe)}
            training["epochs"] = epochs
            save(model, out, architecture, config, training)
            seconds = time.monotonic() - start
            print(f"epoch {epoch}/{epochs}: held-out loss {loss:.4f}, {accuracy:.2f} %, {seconds:.0f} s", flush=True)


def parse(words: list[str] | None) -> argparse.Namespace:
    """The options, with the network's own number of epochs filled in."""
    parser = argparse.ArgumentParser(prog="momos_zoo.train_cifar", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("architecture", choices=RECIPES)
    parser.add_argument("--data", required=True, help="the training images: a folder or a tar of one")
    parser.add_argument("-o", "--out", type=Path, required=True, help=f"the {SUFFIX} file to write")
    parser.add_argument("--epochs", type=int, help="default: the network's")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args(words)
    options.epochs = RECIPES[options.architecture].epochs if options.epochs is None else options.epochs
    for name, least in (("epochs", 1), ("seed", 0), ("threads", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if options.out.suffix != SUFFIX:
        parser.error(f"-o {str(options.out)!r} must end in {SUFFIX}")
    return options


def main(words: list[str] | None = None) -> None:
    """A mistake is one line on standard error and exit code 2."""
    options = parse(words)
    torch.set_num_threads(options.threads)
    try:
        check_writable(options.out)
        train(options.architecture, options.data, options.out, epochs=options.epochs, seed=options.seed)
    except (MomosError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
