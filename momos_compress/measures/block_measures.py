"""The measures that count blocks: sign, windowed and matrix BDM, and QuBD, each with the entropy of its blocks."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from momos_compress.measures import bits
from momos_compress.measures.bdm import bdm_and_entropy, bdm_range, windowed_bdm_of_codes
from momos_compress.measures.bits import BlockHistogram
from momos_compress.measures.ctm import MATRIX_SIDE, STRING_LENGTH, matrix_complexities, string_complexities
from momos_compress.measures.planes import plane_histograms, sign_matrix_histogram
from momos_compress.measures.registry import BlockEntropy, Measure
from momos_compress.measures.tensor_view import TensorView


@dataclass(frozen=True, eq=False)
class BlockCounts:
    """A histogram of blocks.

    Attributes:
        occurrences: (codes,) int64.
        complexities: CTM of each block in bits, (codes,) float64.
    """

    occurrences: np.ndarray
    complexities: np.ndarray

    @cached_property
    def _figures(self) -> tuple[float, float]:
        return bdm_and_entropy(self.occurrences, self.complexities)

    @property
    def bdm(self) -> float:
        """Block decomposition measure in bits."""
        return self._figures[0]

    @property
    def entropy(self) -> float:
        """Shannon entropy in bits per block."""
        return self._figures[1]


@dataclass(frozen=True, eq=False)
class PlaneCounts:
    """A histogram of 4 x 4 blocks for each bit-plane, most significant first."""

    planes: tuple[BlockCounts, ...]

    @property
    def bdm(self) -> tuple[float, ...]:
        """BDM of each plane in bits."""
        return tuple(plane.bdm for plane in self.planes)

    @property
    def entropy(self) -> tuple[float, ...]:
        """Entropy of each plane in bits per block."""
        return tuple(plane.entropy for plane in self.planes)


def _strings(occurrences: np.ndarray) -> BlockCounts | None:
    return BlockCounts(occurrences, string_complexities()) if occurrences.any() else None


def _count_strings(view: TensorView) -> BlockCounts | None:
    return _strings(np.bincount(view.string_codes, minlength=2**STRING_LENGTH))


class _SignStream:
    """The 12-bit blocks of the concatenated sign bits of tensors."""

    def __init__(self) -> None:
        self._histogram = BlockHistogram()

    def add(self, view: TensorView, counts: BlockCounts | None) -> None:
        for part in view.sign_bits():
            self._histogram.add(part)

    def counts(self) -> BlockCounts | None:
        return _strings(self._histogram.counts())


def _windowed(view: TensorView) -> float | None:
    step = bits.CHUNK // STRING_LENGTH
    codes = view.string_codes
    return sum(windowed_bdm_of_codes(codes[start : start + step]) for start in range(0, len(codes), step)) or None


def _matrices(occurrences: np.ndarray) -> BlockCounts:
    return BlockCounts(occurrences, matrix_complexities())


def _count_matrices(view: TensorView) -> BlockCounts | None:
    return _matrices(sign_matrix_histogram(view.weights)) if view.is_matrix else None


class _MatrixPool:
    """The 4 x 4 blocks of all tensors."""

    def __init__(self) -> None:
        self._sum: np.ndarray | None = None

    def add(self, view: TensorView, counts: BlockCounts | None) -> None:
        if counts is not None:
            self._sum = np.zeros_like(counts.occurrences) if self._sum is None else self._sum
            self._sum += counts.occurrences  # in place: a new histogram for each tensor would cost a fifth of a pass

    def counts(self) -> BlockCounts | None:
        return None if self._sum is None else _matrices(self._sum)


def _count_planes(view: TensorView) -> PlaneCounts | None:
    if not view.is_matrix:
        return None
    counts = plane_histograms(view.weights, view.settings.planes, view.settings.percentile)
    return PlaneCounts(tuple(map(_matrices, counts)))


class _PlanePool:
    """The 4 x 4 blocks of all tensors, plane by plane."""

    def __init__(self) -> None:
        self._planes: list[_MatrixPool] = []

    def add(self, view: TensorView, counts: PlaneCounts | None) -> None:
        if counts is not None:
            self._planes = self._planes or [_MatrixPool() for _ in counts.planes]
            for pool, plane in zip(self._planes, counts.planes, strict=True):
                pool.add(view, plane)

    def counts(self) -> PlaneCounts | None:
        found = [plane for pool in self._planes if (plane := pool.counts()) is not None]
        return PlaneCounts(tuple(found)) if found else None


def _matrix_blocks(shape: tuple[int, ...]) -> int:
    return (shape[0] // MATRIX_SIDE) * (math.prod(shape[1:]) // MATRIX_SIDE)


def _sign_range(weights: int) -> tuple[float, float]:
    return bdm_range(weights // STRING_LENGTH, string_complexities())


SIGN = Measure(
    label="1-D sign BDM",
    quantity="BDM",
    axis_label="1-D sign",
    count=_count_strings,
    figure=lambda counts: counts.bdm,
    network="pooled",
    pool=_SignStream,
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
    count=_windowed,
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
    count=_count_matrices,
    figure=lambda counts: counts.bdm,  # summed over tensors: pooled blocks would saturate as the 1-D measure does
    pool=_MatrixPool,
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
    count=_count_planes,
    figure=lambda counts: counts.bdm,
    pool=_PlanePool,
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
