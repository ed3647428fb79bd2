"""The two spectral figures of a layer's pattern: ours against NumPy's dense eigenvalues, by pattern and size.

    python benchmarks/topology.py [--rounds 3] [--dense-side 1024] [--sizes 512 1024 4096]

Seconds for a whole layer, counts and components included, as median and range; dense is eigvalsh of the adjacency
matrix and of the Laplacian, on one thread as ours is, and only up to --dense-side, where it takes less than a minute.
Ratio: dense / ours. Error: the larger relative difference of the two figures from dense or, for a circulant, from its
Fourier transform; empty where neither is at hand. The connectivity of a pattern in several components is 0 exactly,
where dense finds rounding: there the error is the gap's alone.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from _common import machine, spread
from threadpoolctl import threadpool_limits

from momos_compress.measures.topology import LayerTopology, layer_topology


def patterns(n: int) -> dict[str, np.ndarray]:
    rng, i = np.random.default_rng(0), np.arange(n)
    drawn = {f"random {p:g}": rng.random((n, n)) < p for p in (0.001, 0.01, 0.1, 0.5, 0.9, 0.999)}
    regular = np.zeros((n, n), dtype=bool)
    for _ in range(8):
        regular[i, rng.permutation(n)] = True
    nearly = np.ones((n, n), dtype=bool)
    nearly[1, 2] = False
    band = abs(i[:, None] - i) <= 4
    hub = band.copy()
    hub[:, 0] = True
    return {
        **drawn,
        "random-regular 8": regular,
        **{f"circulant {d}": (i - i[:, None]) % n < d for d in (2, 16, n // 4)},
        "path": (i == i[:, None]) | (i == i[:, None] + 1),
        "band 9": band,
        "band 9 and a hub": hub,
        "blocks 8 x 8, 0.1": np.kron(rng.random((n // 8, n // 8)) < 0.1, np.ones((8, 8), dtype=bool)).astype(bool),
        "one zero": nearly,
        "complete": np.ones((n, n), dtype=bool),
        "wide, n/4 x 2n, 0.5": rng.random((n // 4, 2 * n)) < 0.5,
    }


def dense(pattern: np.ndarray) -> tuple[float, float]:
    m, n = pattern.shape
    adjacency = np.zeros((m + n, m + n))
    adjacency[:m, m:], adjacency[m:, :m] = pattern, pattern.T
    with threadpool_limits(limits=1, user_api="blas"):
        values = np.linalg.eigvalsh(adjacency)
        laplacian = np.linalg.eigvalsh(np.diag(adjacency.sum(axis=1)) - adjacency)
    return float(values[-1] - values[-2]), float(laplacian[1])


def error(found: LayerTopology, truth: tuple[float, float] | None) -> str:
    if truth is None:
        return ""
    if found.spectral_gap is None or found.algebraic_connectivity is None:
        return f"none: {found.note}"
    errors = [abs(found.spectral_gap - truth[0]) / truth[0]]
    if found.components == 1:
        errors.append(abs(found.algebraic_connectivity - truth[1]) / truth[1])
    return f"{max(errors):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dense-side", type=int, default=1024)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 4096])
    options = parser.parse_args()
    print(f"{machine()}; one thread\n")
    print("| n | pattern | gap | connectivity | ours s | dense s | ratio | error |")
    print("|---|---|---|---|---|---|---|---|")
    for n in options.sizes:
        for name, pattern in patterns(n).items():
            weight, ours = torch.from_numpy(pattern.astype(np.float32)), []
            for _ in range(options.rounds):
                start = time.perf_counter()
                found = layer_topology(weight, name=name)
                ours.append(time.perf_counter() - start)
            truth, theirs, ratio = None, "", ""
            if n <= options.dense_side:
                start = time.perf_counter()
                truth = dense(pattern)
                seconds = time.perf_counter() - start
                theirs, ratio = f"{seconds:.2f}", f"{seconds / statistics.median(ours):.1f}"
            elif name.startswith("circulant"):
                sigma = np.sort(abs(np.fft.fft(pattern[0].astype(np.float64))))
                truth = (float(sigma[-1] - sigma[-2]), float(sigma[-1] - sigma[-2]))
            figures = (found.spectral_gap, found.algebraic_connectivity)
            shown = " | ".join("none" if value is None else f"{value:.6g}" for value in figures)
            print(
                f"| {n} | {name} | {shown} | {spread(ours)} | {theirs} | {ratio} | {error(found, truth)} |", flush=True
            )


if __name__ == "__main__":
    main()
