"""The sums' loops, on one thread: they cost little beside the products before them, and so their order stays."""

from momos_compress.calibration.kernels.jit import jit
from momos_compress.calibration.kernels.tree import Floats, Integers


@jit
def sum_blocks(out: Floats, indices: Integers, values: Floats, weights: Floats) -> None:
    """Add to ``out`` (k, s) the ``values`` (groups, rows, columns) of each motif's blocks, times (groups, rows)."""
    s = out.shape[1]
    for g in range(indices.shape[0]):
        for row in range(indices.shape[1]):
            for j in range(indices.shape[2]):
                for d in range(s):
                    out[indices[g, row, j], d] += weights[g, row] * values[g, row, j * s + d]


@jit
def sum_squares(out: Floats, indices: Integers, own: Floats, weights: Floats) -> None:
    """Add to ``out`` (k, s s) the ``own`` (groups, blocks, s s) of each motif's blocks, times (groups, rows)."""
    for g in range(indices.shape[0]):
        for row in range(indices.shape[1]):
            for j in range(indices.shape[2]):
                for d in range(out.shape[1]):
                    out[indices[g, row, j], d] += weights[g, row] * own[g, j, d]
