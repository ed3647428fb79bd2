"""What a pass over weights found: the network's figures, and each tensor's own."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from momos_compress.measures.registry import MEASURES, Figure, measure_named


def combined(figures: Sequence[Figure], how: Callable[[Iterable[float]], float]) -> Figure:
    """Sum or mean of one or more figures of a measure, plane by plane where they are tuples."""
    if isinstance(figures[0], tuple):
        return tuple(how(plane) for plane in zip(*figures, strict=True))
    return how(figures)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Complexity:
    """What was measured of a whole network, or of one tensor.

    A measure is None where nothing is large enough for it: sign takes 12 weights, windowed a tensor of 3,072, matrix
    and qubd one with both sides at least 4.

    Attributes:
        weights: How many there are.
        sign: 1-D BDM of the sign bits in bits, over the concatenation of all tensors (the paper's measure).
        windowed: BDM over windows of 256 blocks in bits, summed.
        matrix: 2-D BDM of the sign bits of each (out, rest) in bits, summed.
        qubd: One value in bits for each bit-plane, most significant first, summed over tensors.
        sign_entropy: Shannon entropy of the same blocks as of ``sign``, bits per block.
        matrix_entropy: Shannon entropy of the pooled blocks of ``matrix``, bits per block.
        qubd_entropy: Shannon entropy of the pooled blocks of each plane, bits per block.
        sparsity: Share of exact zeros.
        l2: Euclidean norm.
        sign_rates: Compressor -> compressed over original size of the sign bits; None where not asked for.
        raw_rates: Compressor -> the rate of the float32 bytes; None where not asked for.
        others: Figures of other measures of the table, and ``NAME_entropy`` of those that have one.
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
    others: Mapping[str, Figure | None] = field(default_factory=dict, hash=False)

    @property
    def sign_range(self) -> tuple[float, float]:
        """Least and greatest value, in bits, that ``sign`` can take at this size."""
        possible = measure_named("sign").possible
        assert possible is not None
        return possible(self.weights)

    def figure(self, name: str) -> Figure | None:
        """A measure's figure, or ``NAME_entropy``; None where it was not taken, or nothing was large enough."""
        found: Figure | None = getattr(self, name) if name in _FIELDS else self.others.get(name)
        return found

    def value(self, name: str) -> float | None:
        """A measure's figure as one number: that of several bit-planes is their sum."""
        found = self.figure(name)
        return math.fsum(found) if isinstance(found, tuple) else found

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record, in which other measures stand beside the fields; ``from_json`` undoes it."""
        record = dataclasses.asdict(self)
        others: dict[str, Any] = record.pop("others")
        return {**record, **others}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Complexity":
        """Read what ``to_json`` gave; keys that are neither fields nor measures of the table are left out."""
        pairs: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in record.items()}
        own = {key: value for key, value in pairs.items() if key in _FIELDS}
        others = {key: value for key, value in pairs.items() if key not in _FIELDS and _is_figure(key)}
        return cls(**own, others=others)


_FIELDS = {each.name for each in dataclasses.fields(Complexity)} - {"others"}


def _is_figure(key: str) -> bool:
    return key.removesuffix("_entropy") in MEASURES


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
