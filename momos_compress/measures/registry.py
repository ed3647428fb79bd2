"""The measures that a pass over a network takes, by name: the room's plug-in point.

A measure is one ``Measure`` record and one row of ``MEASURES``. This module imports nothing heavy: the command line
lists the names without torch, and a record is imported when it is first asked for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

from momos_compress.errors import MomosError

if TYPE_CHECKING:
    from momos_compress.measures.tensor_view import TensorView

Figure = float | tuple[float, ...]
"""What a measure says of some weights: one number, or one for each bit-plane with the most significant first."""

Join = Literal["summed", "pooled"]
"""How the figures of tensors become the network's."""


class Pool(Protocol):
    """What is counted of all tensors together, which are given in order."""

    def add(self, view: "TensorView", counts: Any) -> None:
        """Take one tensor, and what ``Measure.count`` gave of it."""

    def counts(self) -> Any:
        """What ``Measure.figure`` takes, of all tensors so far; None where they are too small."""


@dataclass(frozen=True)
class BlockEntropy:
    """Shannon entropy of the blocks that a measure counts, told beside it as ``NAME_entropy``, in bits per block.

    The network's figure is that of the pooled blocks of all tensors.

    Attributes:
        label: Name in the tables of a trace, where a measure by bit-plane has that of its first plane.
        axis_label: Name on the axes and in the tables of a report.
        figure: Entropy of what ``Measure.count`` gave.
        blocks: Shape of a tensor -> its blocks. With it a trace tells the entropy tensor by tensor as well: blocks
            times entropy, in bits, summed as the measure is.
        tensor_label: Name of that sum; needed with ``blocks``.
    """

    label: str
    axis_label: str
    figure: Callable[[Any], Figure]
    blocks: Callable[[tuple[int, ...]], int] | None = None
    tensor_label: str = ""


@dataclass(frozen=True)
class Measure:
    """What is counted of each tensor, how a figure follows, and how it is called.

    Attributes:
        label: Name in lists, tables and titles.
        count: What is counted of one tensor, from its view; None where the tensor is too small. Measures that name the
            same function share its result, and must name the same ``pool``.
        figure: The figure of what was counted, in ``unit``. A function of the counts alone.
        unit: Unit of the figure.
        quantity: What the figure is, before the word "ratio" in the titles of charts.
        axis_label: Short name on axes, before the word "ratio"; None takes ``label``.
        panel: Title of the measure's panel in the profile of a network's layers; None leaves it out of profiles.
        network: How the network's figure arises. "summed": the sum of its tensors' figures, plane by plane. "pooled":
            the figure of what is counted of all of them together.
        pool: Makes what counts all tensors together, for a pooled measure and for ``entropy``; None adds the tensors'
            counts by ``+``.
        ordered: Whether the network's figure depends on the order of its tensors, as that of a concatenation does.
        possible: Weights -> least and greatest figure that so many weights can have; None where no range is known.
        per_plane: Whether a figure is a tuple with one value for each bit-plane.
        complement_invariant: Whether weights and their negatives have the same figure, where no weight is zero.
        default: Whether the measure is taken without being asked for.
        entropy: Entropy of the blocks that are counted; None where nothing is counted in blocks.

    Examples:
        >>> import momos_compress as mc
        >>> count = lambda view: float((view.weights > 0).sum())
        >>> positive = mc.Measure(label="positive weights", count=count, figure=float)
        >>> positive.unit, positive.network
        ('bits', 'summed')
    """

    label: str
    count: Callable[["TensorView"], Any]
    figure: Callable[[Any], Figure]
    unit: str = "bits"
    quantity: str = "complexity"
    axis_label: str | None = None
    panel: str | None = None
    network: Join = "summed"
    pool: Callable[[], Pool] | None = None
    ordered: bool = False
    possible: Callable[[int], tuple[float, float]] | None = None
    per_plane: bool = False
    complement_invariant: bool = False
    default: bool = False
    entropy: BlockEntropy | None = None

    @property
    def axis(self) -> str:
        """Short name on axes."""
        return self.axis_label or self.label


MEASURES: dict[str, Measure | str] = {
    "sign": "momos_compress.measures.block_measures:SIGN",
    "windowed": "momos_compress.measures.block_measures:WINDOWED",
    "matrix": "momos_compress.measures.block_measures:MATRIX",
    "qubd": "momos_compress.measures.block_measures:QUBD",
    "lz": "momos_compress.measures.lz:LZ",
}
"""Name -> record, or "module:object" where it lies, in the order of tables."""

FIRST_MEASURES = ("sign", "windowed", "matrix", "qubd")
"""Measures that every row of a study has, from the first version on."""

if TYPE_CHECKING:
    MeasureName = str
else:  # what the command line offers as choices
    MeasureName = Literal[tuple(MEASURES)]

_TAKEN = {
    *("weights", "sparsity", "l2", "sign_rates", "raw_rates", "flipped", "group", "run", "step", "file", "model"),
    *("status", "family", "parameters", "seeds", "baseline", "revision", "seconds", "peak_memory_bytes", "error"),
}
"""Keys that stand beside the measures' in rows and tables."""


def register_measure(name: str, measure: Measure | str) -> None:
    """Add a measure to the table.

    Args:
        name: Key in row files and stem of columns: an identifier that does not end in ``_entropy``.
        measure: The record, or "module:object" where it lies.

    Raises:
        ValueError: The name is taken, or is no such identifier.

    Examples:
        >>> import torch, momos_compress as mc
        >>> count = lambda view: float((view.weights > 0).sum())
        >>> positive = mc.Measure(label="positive weights", count=count, figure=float)
        >>> mc.register_measure("positive", positive)
        >>> weights = [("w", torch.tensor([1.0, -2.0, 3.0]))]
        >>> mc.measure(weights, mc.MeasureSettings(also=("positive",))).total.value("positive")
        2.0
        >>> del MEASURES["positive"]
    """
    if name in MEASURES or name in _TAKEN:
        raise ValueError(f"the name {name!r} is taken; choose another")
    if not name.isidentifier() or name.endswith("_entropy"):
        raise ValueError(f"{name!r} is no name of a measure; it must be an identifier that does not end in _entropy")
    MEASURES[name] = measure


def measure_named(name: str) -> Measure:
    """The record of a measure; MomosError lists the names where there is none."""
    if name not in MEASURES:
        raise MomosError(f"unknown measure {name!r}; choose from {', '.join(MEASURES)}")
    entry = MEASURES[name]
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = getattr(import_module(module), attribute)
        if not isinstance(entry, Measure):
            raise TypeError(f"{MEASURES[name]} is no Measure")
    return entry


def default_measures() -> tuple[str, ...]:
    """Names of the measures that are taken without being asked for."""
    return tuple(name for name in MEASURES if measure_named(name).default)


def chosen_measures(also: Iterable[str]) -> dict[str, Measure]:
    """Name -> record of the default measures and those named, in the table's order; MomosError for an unknown name."""
    asked = {*default_measures(), *also}
    for name in asked:
        measure_named(name)
    return {name: measure_named(name) for name in MEASURES if name in asked}
