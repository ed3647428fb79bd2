"""Every measure of a network's weights in one pass, tensor by tensor."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from momos_compress.errors import MomosError
from momos_compress.measures.bits import CHUNK
from momos_compress.measures.complexity import Complexity, Layer, Measurement, combined
from momos_compress.measures.rates import BitRates, StreamRates
from momos_compress.measures.registry import Figure, Measure, Pool, chosen_measures
from momos_compress.measures.settings import MeasureSettings
from momos_compress.measures.tensor_view import TensorView
from momos_compress.tensors.dtypes import dtype_name

_Count = Callable[[TensorView], Any]


def measure(
    tensors: Iterable[tuple[str, torch.Tensor]], settings: MeasureSettings | None = None, *, device: str = "cpu"
) -> Measurement:
    """Measure named tensors, one after another, in the order of the concatenation.

    Args:
        tensors: Names and tensors of any shape and floating dtype; only one is held at a time.
        settings: What is measured; None takes the defaults.
        device: Where bits are made. Every figure is the same everywhere, but for the last digits of the L2 norm.

    Returns:
        The figures of all tensors together, and of each.

    Raises:
        MomosError: A tensor, which is named, is of integers, holds NaN or infinity, or a measure is unknown.

    Examples:
        >>> import torch, momos_compress as mc
        >>> weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        >>> found = mc.measure([("w", weights)], mc.MeasureSettings(also=("lz",)))
        >>> found.total.value("sign") == mc.sign_bdm(weights), found.total.value("lz") > 0
        (True, True)
    """
    found = _Pass(settings or MeasureSettings())
    for name, tensor in tensors:
        try:
            found.add(name, tensor.detach().to(device))
        except MomosError as error:
            raise MomosError(f"{name} {list(tensor.shape)}: {error}") from error
    return found.result()


class _Pass:
    """What has been counted so far."""

    def __init__(self, settings: MeasureSettings) -> None:
        self.settings = settings
        self.measures = chosen_measures(settings.also)
        self.layers: list[Layer] = []
        together = [each for each in self.measures.values() if each.network == "pooled" or each.entropy is not None]
        self.pools: dict[_Count, Pool] = {each.count: (each.pool or _Sum)() for each in together}
        self.sign_rates = BitRates() if settings.rates in ("sign", "all") else None
        self.raw_rates = StreamRates() if settings.rates == "all" else None
        self.zeros, self.squares = 0, 0.0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        if not tensor.is_floating_point():
            raise MomosError(f"weights are floating-point numbers, not {dtype_name(tensor.dtype)}; leave it out")
        view = TensorView(tensor, self.settings)
        zeros, squares = self._scan(tensor)
        if self.sign_rates is not None:
            for bits in view.sign_bits():
                self.sign_rates.add(bits)
        counts: dict[_Count, Any] = {}
        for each in self.measures.values():
            if each.count not in counts:
                counts[each.count] = each.count(view)
        for count, pool in self.pools.items():
            pool.add(view, counts[count])
        self.zeros += zeros
        self.squares += squares
        facts = {"sparsity": zeros / max(1, tensor.numel()), "l2": math.sqrt(squares)}
        complexity = _complexity(tensor.numel(), _figures(self.measures, counts), **facts)
        self.layers.append(Layer(name, tuple(tensor.shape), complexity))

    def _scan(self, tensor: torch.Tensor) -> tuple[int, float]:
        """Exact zeros, and the sum of squares."""
        zeros, squares = 0, 0.0
        for piece in torch.split(tensor.reshape(-1), CHUNK):
            zeros += piece.numel() - int(torch.count_nonzero(piece))
            # In double precision, so that the sum does not depend on the device's order of adding.
            squares += float(torch.linalg.vector_norm(piece, dtype=torch.float64)) ** 2
            if self.raw_rates is not None:
                self.raw_rates.add(piece.to(torch.float32).cpu().numpy().tobytes())
        return zeros, squares

    def result(self) -> Measurement:
        weights = sum(layer.complexity.weights for layer in self.layers)
        figures = _figures(self.measures, {count: pool.counts() for count, pool in self.pools.items()})
        for name, each in self.measures.items():
            if each.network == "summed":
                known = [own for layer in self.layers if (own := layer.complexity.figure(name)) is not None]
                figures[name] = combined(known, math.fsum) if known else None
        total = _complexity(
            weights,
            figures,
            sparsity=self.zeros / max(1, weights),
            l2=math.sqrt(self.squares),
            sign_rates=self.sign_rates.result() if self.sign_rates else None,
            raw_rates=self.raw_rates.result() if self.raw_rates else None,
        )
        return Measurement(total, tuple(self.layers))


class _Sum:
    """The counts of all tensors, added up."""

    def __init__(self) -> None:
        self._sum: Any = None

    def add(self, view: TensorView, counts: Any) -> None:
        if counts is not None:
            self._sum = counts if self._sum is None else self._sum + counts

    def counts(self) -> Any:
        return self._sum


def _figures(measures: Mapping[str, Measure], counts: Mapping[_Count, Any]) -> dict[str, Figure | None]:
    """Figures and entropies by name; None where nothing was counted."""
    figures: dict[str, Figure | None] = {}
    for name, each in measures.items():
        found = counts.get(each.count)
        figures[name] = None if found is None else each.figure(found)
        if each.entropy is not None:
            figures[f"{name}_entropy"] = None if found is None else each.entropy.figure(found)
    return figures


def _complexity(weights: int, figures: Mapping[str, Figure | None], **facts: Any) -> Complexity:
    own = {name: figures.get(name) for name in _NAMED}
    others = {name: figure for name, figure in figures.items() if name not in _NAMED}
    return Complexity(weights, **own, **facts, others=others)  # type: ignore[arg-type]


_NAMED = ("sign", "windowed", "matrix", "qubd", "sign_entropy", "matrix_entropy", "qubd_entropy")
"""Figures that ``Complexity`` has a field for."""
