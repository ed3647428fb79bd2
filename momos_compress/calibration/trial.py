"""What a fit's steps take on this machine, from a short trial of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from momos_compress.calibration.alternation import improve
from momos_compress.calibration.gradients import sum_gradients
from momos_compress.calibration.level_model import level_model
from momos_compress.calibration.levels import PRICE, improve_levels
from momos_compress.calibration.search import Rate
from momos_compress.calibration.state import FitState, LayerState
from momos_compress.calibration.store import MatrixStore
from momos_compress.common.stopwatch import stopwatch
from momos_compress.data.batches import Inputs, batch_length, to_device
from momos_compress.mosaic.blocks import row_layout
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import LayerWeight

REPEATS = 3
"""Runs of a trial, of which the shortest counts: others may use the machine."""
LONG = 3.0
"""Seconds of a trial that is not repeated."""
TRIAL_SHAPES = 4
"""Layers of different shapes, those with most blocks, in whose shape random weights are fitted."""
LEVEL_WIDTHS = (128, 1024)
"""Columns of two random layers whose passes tell what a value takes, and what its share of a product takes."""
TRIAL_LEVELS = 127
"""The largest level in them."""
LEVEL_ROWS = 512
"""Rows of these layers."""
TRIAL_BLOCKS = 16
"""Blocks of a row in that trial: a pass goes along a row block by block, and each takes the same time."""

Stopwatch = Callable[[], Callable[[], float]]
"""Starts, and gives what tells the seconds since then."""


@dataclass(frozen=True)
class Pace:
    """Seconds on this machine.

    Attributes:
        forward: Of one sample's forward pass.
        gradient: Of one sample's forward and backward pass, for all weights.
        fit_pass: Of one pass over the mosaic.
    """

    forward: float
    gradient: float
    fit_pass: float


def least_seconds(run: Callable[[], object], started: Stopwatch = stopwatch) -> float:
    """The shortest of a few runs."""
    least = float("inf")
    for _ in range(REPEATS):
        elapsed = started()
        run()
        least = min(least, elapsed())
        if least > LONG:
            break
    return least


def network_seconds(
    model: nn.Module, layers: Sequence[LayerWeight], few: Sequence[Inputs], fewer: Sequence[Inputs], *, device: str
) -> tuple[float, float]:
    """Seconds of one sample's forward pass, and of its gradients.

    Args:
        model: The network, on ``device``.
        layers: Weights that gradients are taken of.
        few: Batches of forward passes.
        fewer: Batches of gradients.
        device: Where the network is.

    Raises:
        MomosError: The network fails on a batch. Values that are not finite are left for the fit to name.
    """

    def run_forward() -> None:
        with torch.inference_mode():
            for batch in few:
                forward(model, to_device(batch, device)).cpu()

    once = least_seconds(run_forward) / sum(map(batch_length, few))
    both = least_seconds(lambda: sum_gradients(model, layers, fewer, device=device, seed=0))
    return once, both / sum(map(batch_length, fewer))


def pass_seconds(shapes: Sequence[tuple[int, int, int]], *, k: int, s: int, device: str, seed: int) -> float:
    """Seconds of one pass over a mosaic, from passes over random layers like the largest.

    Args:
        shapes: Groups, rows of a group and columns of each layer.
        k: Motifs.
        s: Values of a block.
        device: Where the fit runs.
        seed: Of what is random.
    """

    def blocks(shape: tuple[int, int, int]) -> int:
        groups, rows, columns = shape
        return groups * rows * -(-columns // s)

    chosen = sorted(set(shapes), key=blocks, reverse=True)[:TRIAL_SHAPES]
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(k, s, generator=generator)
    rate = Rate.uniform(k, 8.0 * s)
    moments = MatrixStore()
    layers = []
    for number, (groups, rows, columns) in enumerate(chosen):
        count = min(TRIAL_BLOCKS, -(-columns // s))
        moments[str(number)] = torch.eye(count * s).repeat(groups, 1, 1)
        layers.append(
            LayerState(
                name=str(number),
                layout=row_layout((groups * rows, count * s)),
                scales=torch.zeros(groups * rows, dtype=torch.uint8),
                targets=torch.randn(groups, rows, count * s, generator=generator),
                weights=torch.ones(groups, rows),
                correlated=True,
                indices=torch.randint(k, (groups, rows, count), generator=generator, dtype=torch.int32),
            )
        )
    state = FitState(
        layers, moments, codebook.to(device), rate, rate_weight=1.0, zero_motif=False, device=device, price=0.01
    )

    def run_pass() -> None:
        improve(state, lambda done: None, codebook=False)

    run_pass()  # loops may be compiled at their first call
    taken = least_seconds(run_pass)
    return taken / state.blocks * sum(map(blocks, shapes))


def level_seconds(shapes: Sequence[tuple[int, int, int]], *, device: str, seed: int) -> float:
    """Seconds of one pass over a mosaic of levels, from passes over two random layers.

    Args:
        shapes: Groups, rows of a group and columns of each layer.
        device: Where the fit runs.
        seed: Of what is random.
    """
    taken = [_level_pass(width, device, seed) / (LEVEL_ROWS * width) for width in LEVEL_WIDTHS]
    slope = max(0.0, (taken[1] - taken[0]) / (LEVEL_WIDTHS[1] - LEVEL_WIDTHS[0]))
    base = max(0.0, taken[0] - slope * LEVEL_WIDTHS[0])
    return sum(groups * rows * columns * (base + slope * columns) for groups, rows, columns in shapes)


def _level_pass(width: int, device: str, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    targets = 4 * torch.randn(1, LEVEL_ROWS, width, generator=generator)
    levels = targets.round().clamp(-TRIAL_LEVELS, TRIAL_LEVELS)
    model = level_model([("layer", levels)], TRIAL_LEVELS)
    values = torch.arange(-TRIAL_LEVELS, TRIAL_LEVELS + 1).float()
    rounding = model.rounding("layer", values, torch.full((1, LEVEL_ROWS), PRICE))
    moments = torch.eye(width, device=device)[None]
    first = (levels + TRIAL_LEVELS).int()

    def run_pass() -> None:
        improve_levels(targets.to(device), first, moments, rounding)

    run_pass()  # loops may be compiled at their first call
    return least_seconds(run_pass)
