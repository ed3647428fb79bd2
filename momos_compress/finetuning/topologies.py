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
    """Which of the (rows, columns) are edges, bool: about ``density`` of them, at least one a row.

    random: drawn uniformly from all. regular: as many in each row, and in each column as evenly as that allows, else at
    random. banded: next to each other around the diagonal, wrapped at the ends.
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
    """For each weight whose rows are whole blocks: which values may be other than zero; and the names of the others.

    weights: shapes by name, each of two dimensions or more.
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
        raise MomosError(f"no weight has rows of whole blocks of s = {s}; choose another --s")
    return found, tuple(dense)


def fix(
    model: nn.Module, optimiser: torch.optim.Optimizer, kind: str, density: float, s: int, seed: int
) -> dict[str, Any]:
    """Keep the blocks outside a topology at zero from now on, after every step of the optimiser too.

    Returns the record of it: the figures of each layer's graph (see ``layer_topology``), and the weights left dense.
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
