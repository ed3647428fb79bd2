"""The measures that count blocks: sign, windowed and matrix BDM, and QuBD, with the entropies of their blocks."""

import math

from momos_compress.measures.bdm import bdm_range
from momos_compress.measures.block_counts import (
    MatrixPool,
    PlanePool,
    SignStream,
    count_matrices,
    count_planes,
    count_strings,
    windowed_bits,
)
from momos_compress.measures.ctm import MATRIX_SIDE, STRING_LENGTH, string_complexities
from momos_compress.measures.registry import BlockEntropy, Measure


def _matrix_blocks(shape: tuple[int, ...]) -> int:
    return (shape[0] // MATRIX_SIDE) * (math.prod(shape[1:]) // MATRIX_SIDE)


def _sign_range(weights: int) -> tuple[float, float]:
    return bdm_range(weights // STRING_LENGTH, string_complexities())


SIGN = Measure(
    label="1-D sign BDM",
    quantity="BDM",
    axis_label="1-D sign",
    count=count_strings,
    figure=lambda counts: counts.bdm,
    network="pooled",
    pool=SignStream,
    ordered=True,
    possible=_sign_range,
    complement_invariant=True,
    default=True,
    entropy=BlockEntropy("entropy, 1-D signs", "entropy of 12-bit blocks", lambda counts: counts.entropy),
)
"""The paper's measure (arXiv 2602.14896): 1-D BDM of the sign bits of the concatenation of all tensors."""

WINDOWED = Measure(
    label="windowed sign BDM",
    quantity="BDM",
    axis_label="windowed sign",
    panel="windowed",
    count=windowed_bits,
    figure=lambda bits_: bits_,
    complement_invariant=True,
    default=True,
)
"""BDM of each window of 256 consecutive blocks of a tensor's sign bits; does not saturate."""

MATRIX = Measure(
    label="4 x 4 sign BDM",
    quantity="BDM",
    axis_label="4 x 4 sign",
    panel="4 x 4",
    count=count_matrices,
    figure=lambda counts: counts.bdm,  # summed over tensors: pooled blocks would saturate as the 1-D measure does
    pool=MatrixPool,
    complement_invariant=True,
    default=True,
    entropy=BlockEntropy(
        label="entropy, 4 x 4 signs",
        axis_label="entropy of 4 x 4 blocks",
        figure=lambda counts: counts.entropy,
        blocks=_matrix_blocks,
        tensor_label="entropy, 4 x 4, by tensor",
    ),
)
"""2-D BDM of the sign bits of each weight as (out, rest)."""

QUBD = Measure(
    label="QuBD, all planes",
    quantity="BDM",
    axis_label="QuBD",
    panel="QuBD plane 1",
    count=count_planes,
    figure=lambda counts: counts.bdm,
    pool=PlanePool,
    per_plane=True,
    default=True,
    entropy=BlockEntropy(
        label="entropy, plane 1",
        axis_label="entropy of QuBD's 4 x 4 blocks",
        figure=lambda counts: counts.entropy,
        blocks=_matrix_blocks,
        tensor_label="entropy, plane 1, by tensor",
    ),
)
"""QuBD (arXiv 2605.15551): 2-D BDM of each bit-plane of each quantised weight."""
