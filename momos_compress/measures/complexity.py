"""Every measure of a network's weights in one pass: the network's totals, and each tensor's own."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.measures.bdm import bdm_and_entropy, bdm_range, windowed_bdm_of_codes
from momos_compress.measures.bits import CHUNK, BlockHistogram, block_codes, sign_bits
from momos_compress.measures.ctm import MATRIX_SIDE, STRING_LENGTH, matrix_complexities, string_complexities
from momos_compress.measures.planes import CODES, as_matrix, plane_histograms, sign_matrix_histogram
from momos_compress.measures.rates import BitRates, Rates
from momos_compress.measures.settings import MeasureSettings


@dataclass(frozen=True)
class Complexity:
    """What was measured of some weights: of a whole network, or of one tensor. BDM in bits.

    sign: 1-D BDM of the sign bits, over the concatenation of all tensors (the paper's measure).
    windowed: BDM over windows of 256 blocks, summed. matrix: 2-D BDM of the sign bits of each (out, rest), summed.
    qubd: one value a bit-plane, most significant first, summed over tensors. A measure is None where nothing is large
    enough for it: sign takes 12 weights, windowed a tensor of 3,072, matrix and qubd one with both sides at least 4.
    sign_entropy, matrix_entropy: Shannon entropy of the same blocks, bits per block; qubd_entropy: by plane.
    sparsity: share of exact zeros. l2: the norm. sign_rates, raw_rates: compressed over original size by compressor, of
    the sign bits and of the float32 bytes; None where not asked for.
    """

    weights: int
    sign: float | None
    windowed: float | None
    matrix: float | None
    qubd: tuple[float, ...] | None
    sign_entropy: float | None
    matrix_entropy: float | None
    qubd_entropy: tuple[float, ...] | None
    sparsity: float
    l2: float
    sign_rates: dict[str, float] | None = None
    raw_rates: dict[str, float] | None = None

    @property
    def sign_range(self) -> tuple[float, float]:
        """Least and greatest value, in bits, that ``sign`` can take at this size."""
        return bdm_range(self.weights // STRING_LENGTH, string_complexities())

    def value(self, measure: str) -> float | None:
        """One figure by the name of a measure; QuBD's is the sum over its planes."""
        if measure == "qubd":
            return None if self.qubd is None else math.fsum(self.qubd)
        return {"sign": self.sign, "windowed": self.windowed, "matrix": self.matrix}[measure]

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Complexity":
        """Undo ``dataclasses.asdict`` and JSON."""
        known = {field.name for field in dataclasses.fields(cls)}
        pairs: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        return cls(**{key: value for key, value in pairs.items() if key in known})


@dataclass(frozen=True)
class Layer:
    """One tensor's own complexity."""

    name: str
    shape: tuple[int, ...]
    complexity: Complexity


@dataclass(frozen=True)
class Measurement:
    """A network's complexity, and that of each of its tensors in order."""

    total: Complexity
    layers: tuple[Layer, ...] = field(repr=False)


def measure(
    tensors: Iterable[tuple[str, torch.Tensor]], settings: MeasureSettings | None = None, *, device: str = "cpu"
) -> Measurement:
    """Measure named tensors, one after another, in the order of the concatenation.

    device: where bits are made. Every figure is the same everywhere, but for the last digits of the L2 norm. MomosError
    names a tensor that holds NaN or infinity, which no quantisation range spans.
    """
    meter = _Meter(settings or MeasureSettings())
    for name, tensor in tensors:
        try:
            meter.add(name, tensor.detach().to(device))
        except MomosError as error:
            raise MomosError(f"{name} {list(tensor.shape)}: {error}") from error
    return meter.result()


class _Meter:
    def __init__(self, settings: MeasureSettings) -> None:
        self.settings = settings
        self.layers: list[Layer] = []
        self.stream = BlockHistogram()
        self.matrix_counts = np.zeros(CODES, dtype=np.int64)
        self.plane_counts = np.zeros((settings.planes, CODES), dtype=np.int64)
        self.sign_rates = BitRates() if settings.rates in ("sign", "all") else None
        self.raw_rates = Rates() if settings.rates == "all" else None
        self.zeros, self.squares = 0, 0.0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        counts = np.zeros(2**STRING_LENGTH, dtype=np.int64)
        windowed, zeros, squares = 0.0, 0, 0.0
        for bits in sign_bits(tensor):
            self.stream.add(bits)
            codes = block_codes(bits)
            counts += np.bincount(codes, minlength=len(counts))
            windowed += windowed_bdm_of_codes(codes)
            if self.sign_rates is not None:
                self.sign_rates.add(bits)
        for piece in torch.split(tensor.reshape(-1), CHUNK):
            zeros += piece.numel() - int(torch.count_nonzero(piece))
            # Doubles one by one, so that the sum does not depend on the device's order of adding float32.
            squares += float(torch.linalg.vector_norm(piece, dtype=torch.float64)) ** 2
            if self.raw_rates is not None:
                self.raw_rates.add(piece.to(torch.float32).cpu().numpy().tobytes())
        matrix, planes = self._two_dimensional(tensor)
        self.zeros += zeros
        self.squares += squares
        figures = _figures(counts, windowed, matrix, planes)
        count = tensor.numel()
        complexity = Complexity(count, **figures, sparsity=zeros / max(1, count), l2=math.sqrt(squares))
        self.layers.append(Layer(name, tuple(tensor.shape), complexity))

    def _two_dimensional(self, tensor: torch.Tensor) -> tuple[np.ndarray | None, np.ndarray | None]:
        if tensor.dim() < 2 or min(as_matrix(tensor).shape) < MATRIX_SIDE:
            return None, None
        matrix = sign_matrix_histogram(tensor)
        planes = plane_histograms(tensor, self.settings.planes, self.settings.percentile)
        self.matrix_counts += matrix
        self.plane_counts += planes
        return matrix, planes

    def result(self) -> Measurement:
        weights = sum(layer.complexity.weights for layer in self.layers)
        matrices = [c for layer in self.layers if (c := layer.complexity).matrix is not None]
        windowed = math.fsum(c.windowed or 0.0 for c in (layer.complexity for layer in self.layers))
        some = bool(matrices)
        figures = _figures(
            self.stream.counts(), windowed, self.matrix_counts if some else None, self.plane_counts if some else None
        )
        # Of a network, BDM is summed over tensors: pooled blocks would saturate as the 1-D measure does.
        figures["matrix"] = math.fsum(c.matrix or 0.0 for c in matrices) if some else None
        figures["qubd"] = (
            tuple(math.fsum(plane) for plane in zip(*(c.qubd or () for c in matrices), strict=True)) if some else None
        )
        total = Complexity(
            weights,
            **figures,
            sparsity=self.zeros / max(1, weights),
            l2=math.sqrt(self.squares),
            sign_rates=self.sign_rates.result() if self.sign_rates else None,
            raw_rates=self.raw_rates.result() if self.raw_rates else None,
        )
        return Measurement(total, tuple(self.layers))


def _figures(
    strings: np.ndarray, windowed: float, matrix: np.ndarray | None, planes: np.ndarray | None
) -> dict[str, Any]:
    """The fields of a Complexity that histograms of blocks give."""
    table = matrix_complexities()
    sign = bdm_and_entropy(strings, string_complexities()) if strings.any() else (None, None)
    matrices = (None, None) if matrix is None else bdm_and_entropy(matrix, table)
    by_plane = None if planes is None else [bdm_and_entropy(plane, table) for plane in planes]
    return {
        "sign": sign[0],
        "sign_entropy": sign[1],
        "windowed": windowed or None,
        "matrix": matrices[0],
        "matrix_entropy": matrices[1],
        "qubd": None if by_plane is None else tuple(bdm for bdm, _ in by_plane),
        "qubd_entropy": None if by_plane is None else tuple(entropy for _, entropy in by_plane),
    }
