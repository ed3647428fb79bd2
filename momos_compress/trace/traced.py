"""The figures that a trace follows from checkpoint to checkpoint: their names, their labels, and how each is read.

They are, in the order of tables: the default measures; the most significant plane of those by bit-plane; the entropy of
the same blocks, over the network's pooled blocks; that entropy tensor by tensor, summed as the measure is so that the
two differ in nothing else; then rate, norm, sparsity, and the share of signs that differ from the first checkpoint.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from momos_compress.measures.complexity import Measurement
from momos_compress.measures.registry import BlockEntropy, Figure, default_measures, measure_named

FLIPPED = "flipped"
"""The figure that no single checkpoint has."""


@dataclass(frozen=True)
class TracedFigure:
    """One figure of a checkpoint.

    Attributes:
        label: What tables and charts call it.
        read: Measurement -> the figure; None where the network is too small for it.
    """

    label: str
    read: Callable[[Measurement], float | None]


def traced_figures() -> dict[str, TracedFigure]:
    """Name -> figure, in the order of tables; ``flipped`` is read from no measurement, and left None."""
    measures = {name: measure_named(name) for name in default_measures()}
    with_entropy = [(_stem(name), name, each.entropy) for name, each in measures.items() if each.entropy is not None]
    found = {name: TracedFigure(each.label, _total(name)) for name, each in measures.items()}
    for name, each in measures.items():
        if each.per_plane:
            found[_stem(name)] = TracedFigure(f"{each.axis} plane 1", _first(name))
    for stem, name, entropy in with_entropy:
        found[f"{stem}_entropy"] = TracedFigure(entropy.label, _first(f"{name}_entropy"))
    for stem, name, entropy in with_entropy:
        if entropy.blocks is not None:
            found[f"{stem}_entropy_by_tensor"] = TracedFigure(entropy.tensor_label, _by_tensor(name, entropy))
    return found | {
        "gzip_sign_rate": TracedFigure("gzip rate of signs", lambda m: (m.total.sign_rates or {}).get("gzip")),
        "l2": TracedFigure("L2 norm", lambda m: m.total.l2),
        "sparsity": TracedFigure("sparsity", lambda m: m.total.sparsity),
        FLIPPED: TracedFigure("flipped signs", lambda m: None),
    }


def figure_labels() -> dict[str, str]:
    """Name of a figure -> what tables and charts call it."""
    return {name: each.label for name, each in traced_figures().items()}


def entropy_pairs() -> list[tuple[str, str]]:
    """A measure, and the entropy of the same blocks.

    Where a measure is summed over tensors, the entropy of pooled blocks differs from it in that as well, and only the
    one by tensor is like for like.
    """
    names = traced_figures()
    pairs = []
    for name in default_measures():
        stem = _stem(name)
        pairs += [(stem, each) for each in (f"{stem}_entropy", f"{stem}_entropy_by_tensor") if each in names]
    return pairs


def _stem(name: str) -> str:
    """The measure itself, or its most significant plane."""
    return f"{name}_plane_1" if measure_named(name).per_plane else name


def _total(name: str) -> Callable[[Measurement], float | None]:
    return lambda found: found.total.value(name)


def _one(figure: Figure | None) -> float | None:
    return figure[0] if isinstance(figure, tuple) else figure


def _first(name: str) -> Callable[[Measurement], float | None]:
    """The figure, or its first plane's."""
    return lambda found: _one(found.total.figure(name))


def _by_tensor(name: str, entropy: BlockEntropy) -> Callable[[Measurement], float | None]:
    """Bits: each tensor's blocks times its entropy, summed over the tensors that have one."""

    def read(found: Measurement) -> float | None:
        bits = [
            entropy.blocks(layer.shape) * value
            for layer in found.layers
            if (value := _one(layer.complexity.figure(f"{name}_entropy"))) is not None and entropy.blocks is not None
        ]
        return math.fsum(bits) if bits else None

    return read
