"""Coordinate descent on a mosaic: each block's motif with all others held fixed."""

import torch

from momos_compress.calibration.kernels import passes
from momos_compress.calibration.kernels.available import compiled
from momos_compress.calibration.search import MotifSearch


def descend(
    targets: torch.Tensor,
    indices: torch.Tensor,
    moments: torch.Tensor,
    search: MotifSearch,
    weight: torch.Tensor,
) -> torch.Tensor:
    """One pass over a layer's blocks, none of which raises the objective.

    Args:
        targets: (groups, rows, columns), whole blocks.
        indices: (groups, rows, blocks), the mosaic to improve.
        moments: (groups, columns, columns) positive definite.
        search: Finds motifs; must hold the codebook that ``indices`` name.
        weight: (groups, rows), what a bit costs there in squared error.

    Returns:
        The new mosaic, (groups, rows, blocks) int32 on the CPU.
    """
    book, s = search.codebook, search.codebook.shape[1]
    indices = indices.to(targets.device, torch.int64, copy=True)
    groups, _, width = targets.shape
    count = width // s
    error = targets - book[indices].reshape(targets.shape)
    pull = error @ moments
    if compiled(targets):
        found = indices.int()
        passes.descent(search.tree, pull, found, moments, weight)
        return found
    diagonal = torch.stack([moments[:, j * s : j * s + s, j * s : j * s + s] for j in range(count)], dim=1)
    lower = torch.linalg.cholesky(diagonal)
    inverse = torch.cholesky_inverse(lower)
    for j in range(count):
        at = slice(j * s, j * s + s)
        # With all other blocks held fixed the cost of this one is |t - c|^2 in the metric of its moments.
        best = (book[indices[:, :, j]] + pull[:, :, at] @ inverse[:, j]) @ lower[:, j]
        found = search.in_metric(best, lower[:, j], weight, indices[:, :, j])
        group, row = (found != indices[:, :, j]).nonzero(as_tuple=True)
        if len(row):
            change = book[indices[group, row, j]] - book[found[group, row]]
            if groups == 1:
                pull[0].index_add_(0, row, change @ moments[0, at])
            else:
                pull[group, row] += (change[:, None] @ moments[group, at])[:, 0]
            indices[:, :, j] = found
    return indices.int().cpu()
