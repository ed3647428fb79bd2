"""The whole run on ResNet-50 (random weights: 25.6 M weights, 6.4 M blocks, k = 63,757), timed from outside.

    python benchmarks/resnet50.py [--rounds 3]

Wall-clock seconds and peak resident memory of `momos-compress resnet50 --no-pretrained --c 0.01`, the start of the
program included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _common import machine, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    seconds, memory = [], []
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "resnet50.momos.safetensors"
        command = [sys.executable, "-m", "momos_cli", "resnet50", "--no-pretrained", "--c", "0.01", "--json", "-o", out]
        for _ in range(options.rounds):
            start = time.perf_counter()
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                report = json.loads(process.stdout.read())
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            seconds.append(time.perf_counter() - start)
            memory.append(usage.ru_maxrss / 2**20)
    print(f"whole run {spread(seconds)} s")
    print(f"peak      {spread(memory)} GiB")
    print("last run by stage: " + ", ".join(f"{s['name']} {s['seconds']:.2f} s" for s in report["stages"]))
    keys = ("blocks", "k", "file_bytes", "ratio", "bits_per_weight", "relative_distortion")
    print({key: report[key] for key in keys})


if __name__ == "__main__":
    main()
