"""What the measures of blocks count of a tensor, and of all tensors together."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from momos_compress.measures import bits
from momos_compress.measures.bdm import bdm_and_entropy, windowed_bdm_of_codes
from momos_compress.measures.bits import BlockHistogram
from momos_compress.measures.ctm import STRING_LENGTH, matrix_complexities, string_complexities
from momos_compress.measures.planes import plane_histograms, sign_matrix_histogram
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


def count_strings(view: TensorView) -> BlockCounts | None:
    """Count the 12-bit blocks of a tensor's sign bits; None for fewer than 12 weights."""
    return _strings(np.bincount(view.string_codes, minlength=2**STRING_LENGTH))


class SignStream:
    """Counts the 12-bit blocks of the concatenated sign bits of tensors."""

    def __init__(self) -> None:
        self._histogram = BlockHistogram()

    def add(self, view: TensorView, counts: BlockCounts | None) -> None:
        """Take one tensor."""
        for part in view.sign_bits():
            self._histogram.add(part)

    def counts(self) -> BlockCounts | None:
        """What was counted so far; None where nothing was large enough."""
        return _strings(self._histogram.counts())


def windowed_bits(view: TensorView) -> float | None:
    """Windowed BDM of a tensor's sign bits; None for fewer than 3,072 weights."""
    step = bits.CHUNK // STRING_LENGTH
    codes = view.string_codes
    return sum(windowed_bdm_of_codes(codes[start : start + step]) for start in range(0, len(codes), step)) or None


def _matrices(occurrences: np.ndarray) -> BlockCounts:
    return BlockCounts(occurrences, matrix_complexities())


def count_matrices(view: TensorView) -> BlockCounts | None:
    """Count the 4 x 4 blocks of a tensor's sign bits as (out, rest); None where a side is under 4."""
    return _matrices(sign_matrix_histogram(view.weights)) if view.is_matrix else None


class MatrixPool:
    """Counts the 4 x 4 blocks of all tensors."""

    def __init__(self) -> None:
        self._sum: np.ndarray | None = None

    def add(self, view: TensorView, counts: BlockCounts | None) -> None:
        """Take one tensor."""
        if counts is not None:
            self._sum = np.zeros_like(counts.occurrences) if self._sum is None else self._sum
            self._sum += counts.occurrences  # in place: a new histogram for each tensor would cost a fifth of a pass

    def counts(self) -> BlockCounts | None:
        """What was counted so far; None where nothing was large enough."""
        return None if self._sum is None else _matrices(self._sum)


def count_planes(view: TensorView) -> PlaneCounts | None:
    """Count the 4 x 4 blocks of each bit-plane; None where a side is under 4."""
    if not view.is_matrix:
        return None
    counts = plane_histograms(view.weights, view.settings.planes, view.settings.percentile)
    return PlaneCounts(tuple(map(_matrices, counts)))


class PlanePool:
    """Counts the 4 x 4 blocks of all tensors, plane by plane."""

    def __init__(self) -> None:
        self._planes: list[MatrixPool] = []

    def add(self, view: TensorView, counts: PlaneCounts | None) -> None:
        """Take one tensor."""
        if counts is not None:
            self._planes = self._planes or [MatrixPool() for _ in counts.planes]
            for pool, plane in zip(self._planes, counts.planes, strict=True):
                pool.add(view, plane)

    def counts(self) -> PlaneCounts | None:
        """What was counted so far; None where nothing was large enough."""
        found = [plane for pool in self._planes if (plane := pool.counts()) is not None]
        return PlaneCounts(tuple(found)) if found else None
