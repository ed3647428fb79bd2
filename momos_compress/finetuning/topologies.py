"""Sparse topologies that are fixed before training: whole blocks of a weight that are, and stay, zero.

A weight (rows, columns) is a bipartite graph of its rows and of its column blocks, s columns each; an edge is a block
that may be other than zero (arXiv 1706.05683, where accuracy follows the graph's spectral gap rather than its density).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from momos_compress.errors import MomosError
from momos_compress.measures.topology import layer_topology


def pattern(kind: str, rows: int, columns: int, density: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the edges of a bipartite graph, at least one a row.

    Args:
        kind: "random": uniformly from all. "regular": as many in each row, and in each column as evenly as that
            allows, else at random. "banded": side by side around the diagonal, wrapped at the ends.
        rows: Vertices on one side.
        columns: Vertices on the other.
        density: Share of (rows, columns) that are edges, about.
        rng: What is drawn from.

    Returns:
        Which of (rows, columns) are edges, bool.
    """
    edges = np.zeros((rows, columns), dtype=bool)
    if kind == "random":
        count = max(rows, round(density * rows * columns))
        first = rng.integers(0, columns, rows)  # a row without an edge would be a dead unit
        edges[np.arange(rows), first] = True
        rest = np.flatnonzero(~edges)
        edges.ravel()[rng.choice(rest, size=min(count - rows, len(rest)), replace=False)] = True
        return edges
    degree = min(columns, max(1, round(density * columns)))
    if kind == "banded":
        starts = np.floor(np.arange(rows) * columns / rows).astype(int) - degree // 2
        edges[np.arange(rows)[:, None], (starts[:, None] + np.arange(degree)) % columns] = True
        return edges
    left = np.zeros(columns, dtype=np.int64)
    for row in rng.permutation(rows):
        # The least used columns, ties at random: degrees of columns differ by one at most.
        chosen = np.lexsort((rng.random(columns), left))[:degree]
        edges[row, chosen] = True
        left[chosen] += 1
    return edges


def masks(
    weights: Mapping[str, torch.Size], kind: str, density: float, s: int, seed: int
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Mark the values of each weight that may be other than zero.

    Args:
        weights: Name -> shape, each of two dimensions or more.
        kind: The topology, as ``pattern`` takes it.
        density: Share of blocks that may be other than zero.
        s: Values in a block.
        seed: Seed of the topology.

    Returns:
        Name -> mask, bool, for each weight whose rows are whole blocks; and the names of the others.

    Raises:
        MomosError: if no weight has rows of whole blocks.
    """
    found, dense = {}, []
    for number, (name, shape) in enumerate(weights.items()):
        rows, columns = shape[0], math.prod(shape[1:])
        if columns % s:
            dense.append(name)
            continue
        edges = pattern(kind, rows, columns // s, density, np.random.default_rng([seed, number]))
        values = torch.from_numpy(np.repeat(edges, s, axis=1))
        found[name] = values.reshape(shape)
    if not found:
        raise MomosError(f"no weight has rows of whole blocks of s = {s}; choose another `s`")
    return found, tuple(dense)


def fix(
    model: nn.Module, optimiser: torch.optim.Optimizer, kind: str, density: float, s: int, seed: int
) -> dict[str, Any]:
    """Keep the blocks outside a topology at zero from now on, after every step of the optimiser too.

    Args:
        model: The network, whose weights of two or more dimensions are masked in place.
        optimiser: What trains it.
        kind: The topology, as ``pattern`` takes it.
        density: Share of blocks that may be other than zero.
        s: Values in a block.
        seed: Seed of the topology.

    Returns:
        The record of it: the figures of each layer's graph (``layer_topology``), and the weights left dense.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.ndim > 1}
    found, dense = masks({name: weight.shape for name, weight in weights.items()}, kind, density, s, seed)
    kept = [(weights[name], mask.to(weights[name])) for name, mask in found.items()]

    def mask(*step: object) -> None:
        with torch.no_grad():
            for weight, values in kept:
                weight.mul_(values)

    mask()
    optimiser.register_step_post_hook(mask)
    layers = [layer_topology(values.float(), name=name, s=s) for name, values in found.items()]
    return {"dense": list(dense), "layers": [dataclasses.asdict(layer) for layer in layers]}
