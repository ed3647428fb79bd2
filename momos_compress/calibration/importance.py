"""How much an error counts: by row of a weight, and by block."""

import numpy as np
import torch

from momos_compress.calibration.fit import LayerFit
from momos_compress.calibration.statistics import Statistics
from momos_compress.mosaic.scales import scale_values
from momos_compress.networks.layers import LayerWeight

IMPORTANCE_FLOOR = 1e-3
"""Of a layer's mean importance: what no gradient reached in calibration may be reached by other inputs."""


def weigh(fits: list[LayerFit], layers: list[LayerWeight], statistics: Statistics) -> None:
    """Importance of a normalised error in each row: its share of the squared gradients times its squared scale."""
    typical = []
    for layer, own in zip(fits, layers, strict=True):
        gradients = statistics.gradients.get(layer.name)
        width = layer.targets.shape[2]
        if gradients is None or not bool(gradients.any()):
            layer.weights = torch.full(layer.targets.shape[:2], float("nan"))
            continue
        if own.kind == "embedding":  # a row whose token no input had counts as the mean row
            gradients = (gradients + gradients.mean()) / 2
        groups = layer.targets.shape[0]
        energy = statistics.energies.get(layer.name, torch.full((groups,), float(width)))
        importance = gradients.reshape(groups, -1) / energy[:, None].clamp(min=1e-30)
        importance = importance.clamp(min=IMPORTANCE_FLOOR * float(importance.mean()))
        layer.weights = importance * scale_values(layer.scales).reshape(groups, -1).square()
        typical.append(float((layer.weights * energy[:, None]).mean()) / width)
    middle = float(np.median(typical)) if typical else 1.0
    for layer in fits:
        if bool(layer.weights.isnan().any()):
            scale = 1.0
            if layer.correlated:
                scale = float(statistics.moments[layer.name].diagonal(dim1=1, dim2=2).mean())
            layer.weights = torch.full(layer.targets.shape[:2], max(middle, 1e-30) / max(scale, 1e-30))
    mean = float(torch.cat([layer.weights.reshape(-1) for layer in fits]).mean())
    for layer in fits:
        layer.weights = layer.weights / mean


def block_costs(layer: LayerFit, statistics: Statistics, s: int) -> torch.Tensor:
    """What an error of one in each value of a block would cost, but for its sign: as many as there are blocks."""
    power = torch.ones(layer.targets.shape[0], 1, layer.targets.shape[2])
    if layer.correlated:
        power = statistics.moments[layer.name].diagonal(dim1=1, dim2=2)[:, None]
    power = power.reshape(len(power), 1, -1, s).sum(dim=3)
    return (layer.weights[:, :, None] * power).reshape(-1)


def drawn_blocks(costs: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Positions of ``count`` blocks or a few more: half drawn alike, half by their costs (n,), which may repeat.

    Few blocks may cost most, such as the large weights of a strong input, and a draw of all alike can miss them. All
    blocks are among them where ``count`` is their number.
    """
    rng = np.random.default_rng(seed)
    alike = rng.choice(len(costs), size=-(-count // 2), replace=False) if count < len(costs) else np.arange(len(costs))
    ends = costs.double().cumsum(0).numpy()
    costly = np.searchsorted(ends, rng.random(len(alike)) * ends[-1], side="right").clip(max=len(costs) - 1)
    return torch.from_numpy(np.sort(np.concatenate([alike, costly])))
