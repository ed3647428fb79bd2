"""Sums over the blocks of each motif."""

import torch

from momos_compress.calibration.kernels.available import compiled


def add_blocks(out: torch.Tensor, indices: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> None:
    """Add weighted blocks to the motifs that they have.

    Args:
        out: (k, s), changed.
        indices: (groups, rows, blocks) int32.
        values: (groups, rows, columns).
        weights: (groups, rows).
    """
    if compiled(out):
        from momos_compress.calibration.kernels.sum_loops import sum_blocks

        sum_blocks(*(tensor.contiguous().numpy() for tensor in (out, indices, values, weights)))
        return
    out.index_add_(0, indices.reshape(-1), (values * weights[:, :, None]).reshape(-1, out.shape[1]))


def add_squares(out: torch.Tensor, indices: torch.Tensor, moments: torch.Tensor, weights: torch.Tensor) -> None:
    """Add the weighted moments of blocks' own columns to the motifs that they have.

    Args:
        out: (k, s s), changed.
        indices: (groups, rows, blocks) int32.
        moments: (groups, columns, columns).
        weights: (groups, rows).
    """
    groups, _, count = indices.shape
    s = moments.shape[1] // count
    tiles = moments.reshape(groups, count, s, count, s)
    own = tiles.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2).reshape(groups, count, s * s)
    if compiled(out):
        from momos_compress.calibration.kernels.sum_loops import sum_squares

        sum_squares(*(tensor.contiguous().numpy() for tensor in (out, indices, own, weights)))
        return
    for j in range(count):
        values = weights[:, :, None] * own[:, None, j]
        out.index_add_(0, indices[:, :, j].reshape(-1), values.reshape(-1, s * s))
