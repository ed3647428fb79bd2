"""A sharded checkpoint of 4 GiB (synthetic, float32, no architecture): time and peak memory of the whole run.

    python benchmarks/large.py [--gib 4] [--directory DIR]

Makes the shards in a temporary directory (4 GiB of disk), then compresses it with `--k 256`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from _common import machine
from safetensors.torch import save_file

ROWS, COLUMNS = 4096, 4096  # 64 MiB a tensor
TENSORS_PER_SHARD = 8


def make(directory: Path, gib: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weight_map, shards = {}, max(1, round(gib * 16 / TENSORS_PER_SHARD))
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        names = [f"layers.{shard * TENSORS_PER_SHARD + i}.weight" for i in range(TENSORS_PER_SHARD)]
        save_file({name: torch.randn(ROWS, COLUMNS, generator=generator) * 0.02 for name in names}, directory / file)
        weight_map |= dict.fromkeys(names, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=4)
    parser.add_argument("--directory", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        make(Path(directory), options.gib)
        command = [sys.executable, "-m", "momos_cli", directory, "--k", "256", "--json"]
        start = time.perf_counter()
        out = Path(directory) / "out.momos.safetensors"
        with subprocess.Popen([*command, "-o", out], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            report = json.loads(process.stdout.read())
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
    print(machine())
    print(f"{report['source_bytes'] / 2**30:.2f} GiB, {report['parameters']:,} weights, k = {report['k']}")
    print(f"whole run {seconds:.0f} s, peak {usage.ru_maxrss / 2**20:.2f} GiB, ratio {report['ratio']:.2f}")
    for stage in report["stages"]:
        print(f"  {stage['name']:<24}{stage['seconds']:8.1f} s {stage['peak_memory_bytes'] / 2**30:6.2f} GiB")


if __name__ == "__main__":
    main()
