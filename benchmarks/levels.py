"""Levels at several bits a weight on an ImageNet network: size, accuracy, agreement and KL divergence of the file.

    python benchmarks/levels.py ../shared/data --bits 4.5 3.5 2.75

Calibrated on ``imagenet-calibration.tar``, measured on all of ``imagenet-test.tar``; the file is read back.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from timm.data import ImageNetInfo, create_dataset, create_transform, resolve_data_config

import momos_compress as mc

ARCHITECTURE = "tf_efficientnet_lite0"


def outputs(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Scores of all images, ten at a time."""
    with torch.inference_mode():
        return torch.cat([model(part) for part in images.split(10)])


def labelled(directory: Path, model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """The test images as the network takes them, and their classes by ImageNet's own numbers."""
    data = create_dataset("", root=str(directory / "imagenet-test.tar"))
    data.transform = create_transform(**resolve_data_config(model=model))
    numbers = {name: number for number, name in enumerate(ImageNetInfo().label_names())}
    names = {number: name for name, number in data.reader.class_name_to_idx.items()}
    pairs = [data[i] for i in range(len(data))]
    return torch.stack([image for image, _ in pairs]), torch.tensor([numbers[names[label]] for _, label in pairs])


def main() -> None:
    """Print a table of one row for each number of bits and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--bits", type=float, nargs="+", default=[4.5, 3.5, 2.75])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--synthetic", action="store_true", help="With no data given, as by default.")
    given = parser.parse_args()
    weights = given.data / "efficientnet_lite0.safetensors"
    original = timm.create_model(ARCHITECTURE).eval()
    original.load_state_dict(load_file(weights))
    images, labels = labelled(given.data, original)
    wanted = outputs(original, images)
    print(f"original: top-1 {100 * (wanted.argmax(1) == labels).float().mean():.2f} % of {len(labels):,}")
    print("| bits | seed | ratio | top-1, % | agreement, % | KL, nats | s | peak, GiB |")
    print("|---|---|---|---|---|---|---|---|")
    for bits in given.bits:
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "x.momos.safetensors"
                settings = mc.Settings(
                    bits=bits,
                    seed=seed,
                    bdm=False,
                    samples=None if given.synthetic else given.samples,
                    calibrate=None if given.synthetic else str(given.data / "imagenet-calibration.tar"),
                )
                start = time.perf_counter()
                report = mc.compress(mc.open_checkpoint(str(weights)), settings, path)
                seconds = time.perf_counter() - start
                out = outputs(mc.load_model(path).eval(), images)
            p, q = wanted.log_softmax(1), out.log_softmax(1)
            top1, same = (float((out.argmax(1) == each).float().mean()) for each in (labels, wanted.argmax(1)))
            spread = 196 * math.sqrt(same * (1 - same) / len(labels))
            kl = float((p.exp() * (p - q)).sum(1).mean())
            print(
                f"| {bits:g} | {seed} | {report.ratio:.2f} | {100 * top1:.2f} | {100 * same:.2f} +- {spread:.1f} | "
                f"{kl:.3f} | {seconds:.0f} | {report.peak_memory_bytes / 2**30:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
