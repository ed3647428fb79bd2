"""The first mosaic: greedy assignment with feedback of errors, as GPTQ (arXiv 2210.17323) but on blocks.

Blocks are assigned one column of blocks after the other; what one gets wrong, the targets of those after it make good
as far as the layer's second moments let them.
"""

import torch

from momos_compress.calibration.kernels import passes
from momos_compress.calibration.kernels.available import compiled
from momos_compress.calibration.search import MotifSearch


def feedback(moments: torch.Tensor) -> torch.Tensor:
    """The factor by which an error moves on to the columns after it.

    Args:
        moments: (groups, c, c) positive definite.

    Returns:
        U (groups, c, c) float32, upper triangular, with U^T U the inverse of the moments.
    """
    lower = torch.linalg.cholesky(moments.double())
    upper: torch.Tensor = torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)
    return upper.float()


def assign_greedily(
    targets: torch.Tensor, moments: torch.Tensor, search: MotifSearch, weight: torch.Tensor
) -> torch.Tensor:
    """The motif of each block, where later blocks answer for the errors of earlier ones.

    Args:
        targets: (groups, rows, columns), whole blocks.
        moments: (groups, columns, columns) positive definite.
        search: Finds motifs.
        weight: (groups, rows), what a bit costs there in squared error.

    Returns:
        (groups, rows, blocks) int32 on the CPU.
    """
    book, s = search.codebook, search.codebook.shape[1]
    # Blocks of the strongest inputs first: what they get wrong costs most, and most others can make it good.
    power = moments.diagonal(dim1=1, dim2=2).mean(dim=0).reshape(-1, s).sum(dim=1)
    blocks = power.argsort(descending=True)
    columns = (blocks[:, None] * s + torch.arange(s, device=targets.device)).reshape(-1)
    left = targets[:, :, columns].contiguous()
    upper = feedback(moments[:, columns][:, :, columns])
    if compiled(targets):
        found = passes.greedy(search.tree, left, upper, weight)
        out = torch.empty_like(found)
        out[:, :, blocks] = found
        return out
    groups, rows, width = left.shape
    out = torch.empty(groups, rows, width // s, dtype=torch.int32)
    for j in range(width // s):
        at, rest = slice(j * s, j * s + s), slice(j * s + s, width)
        inverse = torch.linalg.inv(upper[:, at, at])
        found = search.in_metric(left[:, :, at] @ inverse, inverse, weight)
        error = left[:, :, at] - book[found]
        if j * s + s < width:
            left[:, :, rest] -= (error @ inverse) @ upper[:, at, rest]
        out[:, :, blocks[j]] = found.int().cpu()
    return out
