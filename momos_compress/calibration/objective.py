"""What a fit minimises: output error, and the price of its bits.

With x the normalised weight of row o and q what stands for it, over all layers:

    J = sum_o w_o (x_o - q_o) H (x_o - q_o)^T + lambda (bits of the mosaic + bits of the codebook)

H are second moments of the layer's inputs; w_o is the row's importance times its squared scale.
"""

import math
from collections.abc import Mapping

import torch

from momos_compress.calibration.pieces import row_pieces
from momos_compress.calibration.state import FitState, LayerState


def row_costs(state: FitState, layer: LayerState) -> torch.Tensor:
    """Each row's share of J without its rate: (groups, rows), on the device."""
    costs = []
    moments = state.moments[layer.name].to(state.device) if layer.correlated else None
    targets = state.targets[layer.name]
    for part in row_pieces(layer.shape):
        error = targets[:, part].to(state.device) - layer.decoded(state.codebook, part)
        costs.append(((error if moments is None else error @ moments) * error).sum(dim=2))
    return torch.cat(costs, dim=1) * layer.weights.to(state.device)


def distortion(state: FitState) -> float:
    """J without its rate."""
    return sum(float(row_costs(state, layer).double().sum()) for layer in state.layers)


def price_of_a_bit(state: FitState) -> float:
    """Lambda: squared error that a bit is worth, from the distortion that the mosaic leaves."""
    # At high rates the distortion of k motifs falls as k^(-2/s), so a bit a block takes 2 ln 2 / s of it away.
    slope = 2 * math.log(2) / state.codebook.shape[1]
    return state.rate_weight * slope * _typical_distortion(state)


def _typical_distortion(state: FitState) -> float:
    """Geometric mean over all blocks of their row's mean share of J.

    Where every bit buys as much as any other all blocks have the same share, and at the same rate in all it is this
    mean (reverse water-filling); the arithmetic one would be that of the few rows that matter most.
    """
    logs, count = 0.0, 0
    for layer in state.layers:
        blocks = layer.shape[2] // state.codebook.shape[1]
        cost = row_costs(state, layer).double() / blocks
        real = cost[cost > 0]
        logs, count = logs + float(real.log().sum()) * blocks, count + real.numel() * blocks
    return math.exp(logs / count) if count else 0.0


def dearer_than(state: FitState, bits: Mapping[str, int]) -> list[str]:
    """Layers of which J would fall if they were stored exactly.

    Args:
        state: After at least one pass.
        bits: What each layer takes when it is stored exactly, by name.

    Returns:
        Their names, the largest gain first; at least one layer is not among them.
    """
    gains = {}
    for layer in state.layers:
        own = state.bits_of(layer)
        error = float(row_costs(state, layer).double().sum())
        gains[layer.name] = error - state.price * (bits[layer.name] - own)
    dearer = sorted((name for name, gain in gains.items() if gain > 0), key=lambda name: -gains[name])
    return dearer[: len(state.layers) - 1] if state.price > 0 else []
