"""Time by stage, processor time and peak memory of a calibrated compression of ResNet-50, on random weights and images.

    python benchmarks/calibrated_cost.py [--k 4096] [--samples 1024] [--c 0.01]

Random weights and noise serve: the cost does not depend on what they hold. Times of another machine, or of one that
runs anything else, are not comparable.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import machine
from PIL import Image

import momos_zoo  # noqa: F401
from momos_compress import Settings, compress, open_checkpoint


def draw_images(directory: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for i in range(count):
        small = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((224, 224)).save(directory / f"{i}.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--k", type=int)
    parser.add_argument("--c", type=float)
    parser.add_argument("--samples", type=int, default=1024)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "images"
        images.mkdir()
        draw_images(images, options.samples)
        checkpoint = open_checkpoint(options.model, pretrained=False)
        k = 4096 if options.k is None and options.c is None else options.k
        settings = Settings(k=k, c=options.c, calibrate=str(images), samples=options.samples, bdm=False)
        start, processor = time.perf_counter(), time.process_time()
        last = ""

        def tell(stage: str, done: int, total: int) -> None:
            nonlocal last
            if stage != last:
                print(f"{time.perf_counter() - start:8.1f} s  {stage}", flush=True)
                last = stage

        report = compress(checkpoint, settings, Path(name) / "out.safetensors", progress=tell)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
    print(f"{options.model}: k = {report.k:,} of {report.k_requested:,}, ratio {report.ratio:.2f}")
    print(f"{seconds:.0f} s, {processor:.0f} s of processors, peak {report.peak_memory_bytes / 2**30:.2f} GiB")
    for stage in report.stages:
        print(f"  {stage.name}: {stage.seconds:.1f} s, {stage.peak_memory_bytes / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
