"""What is lost where a block may only move to motifs near the one it has, as it is with more than 8,192 of them.

    python benchmarks/near_motifs.py --data ../shared/data [--c 0.1] [--candidates 0 256] [--seed 0]

The ResNet-20 of --data is compressed with every motif looked at (0), and with so many of the nearest; the file is read
back and measured on cifar10-test.tar.
"""

import argparse
import tempfile
from pathlib import Path

from _common import machine

import momos_zoo  # noqa: F401
from momos_compress import Settings, compress, load_model, open_checkpoint
from momos_compress.calibration import search
from momos_compress.networks.accuracy import evaluate

NETWORK = "resnet20_cifar10_jpeg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--c", type=float, default=0.1)
    parser.add_argument("--candidates", type=int, nargs="+", default=[0, 256])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(machine())
    print("| motifs looked at | k | bytes | ratio | relative distortion | top-1 (%) | passes, s |")
    print("|---|---|---|---|---|---|---|")
    for candidates in options.candidates:
        search.ALL_MOTIFS, search.CANDIDATES = (0, candidates) if candidates else (2**62, search.CANDIDATES)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "x.momos.safetensors"
            settings = Settings(
                c=options.c, calibrate=str(options.data / "cifar10-train.tar"), seed=options.seed, bdm=False
            )
            report = compress(open_checkpoint(str(options.data / f"{NETWORK}.safetensors")), settings, path)
            top1 = evaluate(load_model(path), str(options.data / "cifar10-test.tar")).top1
        seconds = sum(stage.seconds for stage in report.stages if stage.name in ("fit", "fit again", "round motifs"))
        figures = f"{report.k:,} | {report.file_bytes:,} | {report.ratio:.2f} | {report.relative_distortion:.4f}"
        print(f"| {candidates or 'all'} | {figures} | {top1:.2f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
