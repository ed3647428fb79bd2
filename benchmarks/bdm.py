"""1-D sign BDM of 25.6 M weights: ours against pybdm 0.1.0, in one run, turn about.

    python benchmarks/bdm.py [--weights 25557032] [--rounds 3] [--pybdm-python PYTHON]

pybdm cannot be imported beside current setuptools, so it runs in an environment of its own with setuptools < 81, made
here unless one is named. Both measure the same bits; the two results must agree to 1e-9.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _common import machine, spread, timed

from momos_compress.bdm import sign_bdm

PEER = """
import sys, time, numpy as np
from pybdm import BDM
bits = np.load(sys.argv[1]).astype(int)
bdm = BDM(ndim=1)
bdm.bdm(bits[:1200])
start = time.perf_counter()
value = bdm.bdm(bits)
print(repr(float(value)), time.perf_counter() - start)
"""


def pybdm_environment(directory: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = str(directory / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "setuptools<81", "pybdm==0.1.0"], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=int, default=25_557_032)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pybdm-python")
    options = parser.parse_args()
    weights = torch.randn(options.weights, generator=torch.Generator().manual_seed(0))
    print(f"{machine()}; torch {torch.__version__}; {options.weights:,} weights")
    sign_bdm(weights[:1200])  # reads the table
    with tempfile.TemporaryDirectory() as directory:
        python = options.pybdm_python or pybdm_environment(Path(directory) / "pybdm")
        bits = Path(directory) / "bits.npy"
        np.save(bits, (weights > 0).numpy())
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(timed(lambda: sign_bdm(weights)))
            done = subprocess.run([python, "-W", "ignore", "-c", PEER, str(bits)], capture_output=True, check=True)
            value, seconds = done.stdout.decode().split()
            theirs.append(float(seconds))
        relative = abs(sign_bdm(weights) - float(value)) / float(value)
    print(f"ours      {spread(ours)} s")
    print(f"pybdm     {spread(theirs)} s")
    print(f"ratio     {spread([b / a for a, b in zip(ours, theirs, strict=True)])}")
    print(f"agreement {relative:.1e} relative")


if __name__ == "__main__":
    main()
