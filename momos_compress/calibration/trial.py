"""What a network's passes take on this machine, from a short trial."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from momos_compress.calibration.gradients import sum_gradients
from momos_compress.common.stopwatch import stopwatch
from momos_compress.data.batches import Inputs, batch_length, to_device
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import LayerWeight

REPEATS = 3
"""Runs of a trial, of which the shortest counts: others may use the machine."""
LONG = 3.0
"""Seconds of a trial that is not repeated."""

Stopwatch = Callable[[], Callable[[], float]]
"""Starts, and gives what tells the seconds since then."""


@dataclass(frozen=True)
class Pace:
    """Seconds on this machine.

    Attributes:
        forward: Of one sample's forward pass.
        gradient: Of one sample's forward and backward pass, for all weights.
        fit_pass: Of one pass over the mosaic.
        correction: Of new targets for all layers, from the moments that they take.
    """

    forward: float
    gradient: float
    fit_pass: float
    correction: float = 0.0


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
