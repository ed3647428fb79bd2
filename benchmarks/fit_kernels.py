"""The fit's loops over blocks, compiled against torch, turn about in one run and over the same blocks.

    python benchmarks/fit_kernels.py [--rounds 3] [--values 262144]

For layers with the rows of some in ResNet-50, EfficientNet-Lite0 and MiniLM, and made-up second moments: microseconds
of processor time for a block, of the search for each block by itself, of the greedy mosaic and of a pass of descent
from it; the ratio torch / compiled with its spread; and the objective that the compiled descent leaves over what
torch's does. Layers are cut to --values by their columns, never by their rows: torch pays for each column of blocks,
and would look slow over few rows. Torch is the code that runs where numba does not load; it has neither FAISS nor a
kd-tree. Above 8,192 motifs its descent looks at 256 candidates, and the time of their lists is printed beside.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
from _common import machine, spread

from momos_compress.calibration.descent import descend
from momos_compress.calibration.greedy import assign_greedily
from momos_compress.calibration.kernels import available
from momos_compress.calibration.search import MotifSearch, neighbours_of

LAYERS = {"512 x 4608": (1, 512, 4608), "2048 x 512": (1, 2048, 512)}
LAYERS |= {"672 depthwise": (672, 1, 12), "1536 x 384": (1, 1536, 384)}
BOOKS = [(4, 1024), (4, 65536), (2, 300), (1, 64)]
PRICE = 1e-3


def moments_of(groups: int, width: int) -> torch.Tensor:
    rank = max(4, width // 4)
    mixing = torch.randn(groups, width, rank) * torch.logspace(0, -1.5, rank)
    product = mixing @ mixing.transpose(1, 2)
    return product / product.diagonal(dim1=1, dim2=2).mean() + 0.01 * torch.eye(width)


def spent(run: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def objective(targets: torch.Tensor, indices: torch.Tensor, moments: torch.Tensor, search: MotifSearch) -> float:
    error = targets - search.codebook[indices.long()].reshape(targets.shape)
    return float(((error @ moments) * error).sum()) + PRICE * float(search.bits[indices.long()].sum())


def one_round(
    targets: torch.Tensor, moments: torch.Tensor, search: MotifSearch, *, compiled: bool
) -> tuple[dict[str, float], float]:
    """Seconds of each step, and the objective that descent leaves."""
    weight = torch.full(targets.shape[:2], PRICE)
    with mock.patch.object(available, "numba_loads", return_value=compiled):
        alone, _ = spent(lambda: search.independent(targets, weight))
        greedy, start = spent(lambda: assign_greedily(targets, moments, search, weight))
        descent, found = spent(lambda: descend(targets, start, moments, search, weight))
    return {"alone": alone, "greedy": greedy, "descent": descent}, objective(targets, found, moments, search)


def measure(name: str, s: int, k: int, rounds: int, values: int) -> None:
    groups, rows, width = LAYERS[name]
    width = min(width, max(4 * s, values // (groups * rows) // s * s))
    torch.manual_seed(0)
    targets, moments = torch.randn(groups, rows, width), moments_of(groups, width)
    book, bits = torch.randn(k, s), 10 + 3 * torch.rand(k)
    start = time.process_time()
    near = neighbours_of(book)
    lists = time.process_time() - start
    times: dict[tuple[str, bool], list[float]] = {}
    left: dict[bool, float] = {}
    for _ in range(rounds):
        for compiled in (True, False):
            search = MotifSearch(book, bits, None if compiled else near)
            seconds, left[compiled] = one_round(targets, moments, search, compiled=compiled)
            for step, taken in seconds.items():
                times.setdefault((step, compiled), []).append(1e6 * taken * s / targets.numel())
    for step in ("alone", "greedy", "descent"):
        ours, theirs = times[step, True], times[step, False]
        ratio = spread([b / a for a, b in zip(ours, theirs, strict=True)])
        print(f"{name}, {s}, {k}, {step}: {statistics.median(ours):.2f}; {statistics.median(theirs):.2f}; {ratio}")
    print(f"{name}, {s}, {k}: objective {left[True] / left[False]:.5f}, lists {lists:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--values", type=int, default=2**18)
    options = parser.parse_args()
    print(f"{machine()}, {torch.get_num_threads()} threads")
    for s in sorted({s for s, _ in BOOKS}):  # compiled, or loaded, before anything is timed
        search = MotifSearch(torch.randn(5, s), torch.ones(5))
        one_round(torch.randn(1, 2, 4 * s), moments_of(1, 4 * s), search, compiled=True)
    print("layer, s, k, step: compiled us; torch us; ratio torch / compiled")
    for name in LAYERS:
        for s, k in BOOKS:
            measure(name, s, k, options.rounds, options.values)


if __name__ == "__main__":
    main()
