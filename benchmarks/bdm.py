"""BDM of resnet50's 25.6 M weights: ours against pybdm 0.1.0 in one run, turn about; and what our other measures take.

    python benchmarks/bdm.py [--model resnet50] [--rounds 3] [--pybdm-python PYTHON]

1-D: the sign bits of all parameters as one string. 2-D: the sign bits of each weight as (out, rest), summed. QuBD:
eight bit-planes; pybdm is given the planes ready-made, and measures --planes of them. pybdm cannot be imported beside
current setuptools, so it runs in an environment of its own with setuptools < 81, made here unless one is named. Both
measure the same bits, and the results must agree to 1e-9.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
from _common import machine, spread, timed

from momos_compress.measures.bdm import bdm_of_counts, qubd, sign_bdm, windowed_bdm
from momos_compress.measures.ctm import matrix_complexities
from momos_compress.measures.lz import LZ
from momos_compress.measures.one_pass import measure
from momos_compress.measures.planes import as_matrix, sign_matrix_histogram
from momos_compress.measures.settings import MeasureSettings
from momos_compress.measures.tensor_view import TensorView

PEER = """
import sys, time, numpy as np
from pybdm import BDM
arrays = [array.astype(int) for array in np.load(sys.argv[1]).values()]
bdm = BDM(ndim=arrays[0].ndim)
bdm.bdm(np.zeros((12,) * arrays[0].ndim, dtype=int))
start = time.perf_counter()
value = sum(bdm.bdm(array) for array in arrays)
print(repr(float(value)), time.perf_counter() - start)
"""


def pybdm_environment(directory: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = str(directory / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "setuptools<81", "pybdm==0.1.0"], check=True)
    return python


def against_pybdm(name: str, ours: Callable[[], float], bits: list[np.ndarray], python: str, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bits.npz"
        np.savez(path, *bits)
        ours()
        times: list[tuple[float, float]] = []
        for _ in range(rounds):
            own = timed(ours)
            done = subprocess.run([python, "-W", "ignore", "-c", PEER, str(path)], capture_output=True, check=True)
            value, seconds = done.stdout.decode().split()
            times.append((own, float(seconds)))
    relative = abs(ours() - float(value)) / float(value)
    assert relative < 1e-9, relative
    first, second = ([pair[side] for pair in times] for side in (0, 1))
    ratios = spread([b / a for a, b in times])
    print(f"| {name} | {spread(first)} | {spread(second)} | {ratios} | {relative:.1e} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--planes", type=int, default=1)
    parser.add_argument("--pybdm-python")
    options = parser.parse_args()
    torch.manual_seed(0)
    named = [(name, p.detach()) for name, p in timm.create_model(options.model).named_parameters()]
    weights = [tensor for _, tensor in named]
    matrices = [as_matrix(tensor) for tensor in weights if tensor.dim() > 1 and min(as_matrix(tensor).shape) >= 4]
    count = sum(tensor.numel() for tensor in weights)
    print(f"{machine()}; torch {torch.__version__}; {options.model}, {count:,} random weights\n")
    print("| measure | ours, s | pybdm, s | ratio | agreement |\n|---|---|---|---|---|")
    table = matrix_complexities()

    def matrix() -> float:
        return sum(bdm_of_counts(sign_matrix_histogram(tensor), table) for tensor in matrices)

    def planes() -> float:
        return sum(sum(qubd(tensor)[: options.planes]) for tensor in matrices)

    def peer_planes() -> list[np.ndarray]:
        found = []
        for tensor in matrices:
            values = tensor.numpy().astype(np.float64)
            codes = np.rint((values - values.min()) / (values.max() - values.min()) * 255).astype(np.uint8)
            found += [(codes >> (7 - plane)) & 1 for plane in range(options.planes)]
        return found

    with tempfile.TemporaryDirectory() as directory:
        python = options.pybdm_python or pybdm_environment(Path(directory) / "pybdm")
        string = torch.cat([tensor.reshape(-1) for tensor in weights]).numpy() > 0
        against_pybdm("1-D, sign", lambda: sign_bdm(weights), [string], python, options.rounds)
        signs = [(tensor > 0).numpy() for tensor in matrices]
        against_pybdm("2-D, sign", matrix, signs, python, options.rounds)
        name = f"QuBD: ours all 8 planes, pybdm {options.planes}"
        against_pybdm(name, planes, peer_planes(), python, options.rounds)
    print("\n| ours alone | seconds |\n|---|---|")
    others: list[tuple[str, Callable[[], object]]] = [
        ("QuBD, 8 planes", lambda: [qubd(tensor) for tensor in matrices]),
        ("QuBD, 8 planes, percentile 99.9", lambda: [qubd(tensor, percentile=99.9) for tensor in matrices]),
        ("windowed", lambda: windowed_bdm(weights)),
        ("LZ complexity", lambda: [LZ.count(TensorView(tensor, MeasureSettings())) for tensor in weights]),
        ("every measure in one pass, by tensor", lambda: measure(named, MeasureSettings(rates="none"))),
        ("the same with the rates of the sign bits", lambda: measure(named, MeasureSettings(rates="sign"))),
    ]
    for name, function in others:
        function()
        print(f"| {name} | {spread([timed(function) for _ in range(options.rounds)])} |", flush=True)


if __name__ == "__main__":
    main()
