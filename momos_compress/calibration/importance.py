"""How much an error counts: by row of a weight, and by block."""

from collections.abc import Sequence

import numpy as np
import torch

from momos_compress.calibration.state import LayerState
from momos_compress.calibration.statistics import Statistics
from momos_compress.mosaic.scales import scale_values
from momos_compress.networks.layers import LayerWeight

IMPORTANCE_FLOOR = 1e-3
"""Least importance of a row over its layer's mean: what no gradient reached in calibration other inputs may reach."""


def row_weights(
    states: Sequence[LayerState], layers: Sequence[LayerWeight], statistics: Statistics
) -> list[torch.Tensor]:
    """Importance of a squared error of the normalised weight: share of the squared gradients times squared scale.

    Args:
        states: Weights to fit; their own ``weights`` do not count.
        layers: Their layers, in the same order.
        statistics: Of these layers, the moments damped and padded.

    Returns:
        (groups, rows) for each weight, whose mean over all rows of all weights is 1. Weights that no gradient reached
        count as the median one.
    """
    found: list[torch.Tensor | None] = []
    typical = []
    for state, layer in zip(states, layers, strict=True):
        gradients = statistics.gradients.get(state.name)
        if gradients is None or not bool(gradients.any()):
            found.append(None)
            continue
        if layer.kind == "embedding" or layer.table:  # a row whose token no input had counts as the mean row
            gradients = (gradients + gradients.mean()) / 2
        groups, _, width = state.shape
        energy = statistics.inputs.energies.get(state.name, torch.full((groups,), float(width)))
        importance = gradients.reshape(groups, -1) / energy[:, None].clamp(min=1e-30)
        importance = importance.clamp(min=IMPORTANCE_FLOOR * float(importance.mean()))
        weights = importance * scale_values(state.scales).reshape(groups, -1).square()
        found.append(weights)
        typical.append(float((weights * energy[:, None]).mean()) / width)
    middle = float(np.median(typical)) if typical else 1.0
    filled = [
        _even(state, statistics, middle) if weights is None or bool(weights.isnan().any()) else weights
        for state, weights in zip(states, found, strict=True)
    ]
    mean = float(torch.cat([weights.reshape(-1) for weights in filled]).mean())
    return [weights / mean for weights in filled]


def _even(state: LayerState, statistics: Statistics, middle: float) -> torch.Tensor:
    """The same weight for each row, so that the layer's errors count ``middle`` a value."""
    scale = 1.0
    if state.correlated:
        scale = float(statistics.inputs.moments[state.name].diagonal(dim1=1, dim2=2).mean())
    return torch.full(state.shape[:2], max(middle, 1e-30) / max(scale, 1e-30))


def block_costs(state: LayerState, statistics: Statistics, s: int) -> torch.Tensor:
    """What an error of one in each value of a block would cost, but for its sign: (groups rows blocks,)."""
    power = torch.ones(state.shape[0], 1, state.shape[2])
    if state.correlated:
        power = statistics.inputs.moments[state.name].diagonal(dim1=1, dim2=2)[:, None]
    power = power.reshape(len(power), 1, -1, s).sum(dim=3)
    return (state.weights[:, :, None] * power).reshape(-1)


def drawn_blocks(costs: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Draw blocks, half of them alike and half by what errors in them cost.

    Few blocks may cost most, such as the large weights of a strong input, and a draw of all alike can miss them.

    Args:
        costs: (n,) of each block.
        count: Blocks to draw, or a few more; with ``count`` of n or above all blocks are among them.
        seed: Of the draw.

    Returns:
        Positions in ascending order, int64; those drawn by cost may repeat.
    """
    rng = np.random.default_rng(seed)
    alike = rng.choice(len(costs), size=-(-count // 2), replace=False) if count < len(costs) else np.arange(len(costs))
    ends = costs.double().cumsum(0).numpy()
    costly = np.searchsorted(ends, rng.random(len(alike)) * ends[-1], side="right").clip(max=len(costs) - 1)
    return torch.from_numpy(np.sort(np.concatenate([alike, costly])))
