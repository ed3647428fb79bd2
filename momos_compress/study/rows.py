"""The rows of a study: one record for each model, and the ratios that follow from it."""

import dataclasses
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from momos_compress.measures.complexity import Complexity
from momos_compress.measures.registry import Figure, MeasureName, measure_named
from momos_compress.study.settings import BaselineKind

BASELINES: tuple[BaselineKind, ...] = get_args(BaselineKind)
"""The kinds of copies that a model is compared with."""


@dataclass(frozen=True)
class Ratio:
    """A model's figure over its copies', one value for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def low(self) -> float:
        """Least value over the seeds."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Greatest value over the seeds."""
        return max(self.values)


@dataclass(frozen=True)
class LayerRow:
    """One tensor of a model.

    Attributes:
        name: The parameter's name.
        shape: Its shape.
        complexity: Its own figures.
        reinitialised: Measure -> mean figure of the re-initialised copies of this tensor; a measure that the tensor is
            too small for is absent.
        shuffled: Measure -> mean figure of its shuffled copies, with the same gaps.
    """

    name: str
    shape: tuple[int, ...]
    complexity: Complexity
    reinitialised: Mapping[str, Figure]
    shuffled: Mapping[str, Figure]

    def ratio(self, measure: MeasureName, baseline: BaselineKind) -> float | None:
        """The tensor's figure over the mean of its copies; of bit-planes that of the first. None without either."""
        own, other = self.complexity.figure(measure), getattr(self, baseline).get(measure)
        if measure_named(measure).per_plane:
            own, other = own and own[0], other and other[0]  # type: ignore[index]
        return own / other if own is not None and other else None


@dataclass(frozen=True)
class Row:
    """What a study found of one model; a model that failed has its error and nothing measured.

    Attributes:
        model: The model as it was asked for.
        status: Whether it was measured.
        fingerprint: Digest of all that the figures depend on.
        version: Version of this package that measured it.
        error: Why it failed.
        revision: What exactly was measured: a commit, a digest of the files, or "random, seed N".
        family: The timm module or the transformers model type; "file" where no architecture is known.
        library: Where the architecture comes from.
        parameters: Weights that were measured.
        complexity: Figures of the network.
        reinitialised: Figures of its re-initialised copies, seed by seed.
        shuffled: Figures of its shuffled copies, seed by seed.
        baseline: How the re-initialised copies were made.
        settings: The settings that figures depend on.
        layers: Its tensors in order.
        warnings: What the checkpoint's reader told.
        stages: Stage -> seconds.
        seconds: Sum over the stages.
        peak_memory_bytes: Peak resident memory of any stage.
        device: Where bits were made.
    """

    model: str
    status: Literal["ok", "failed"]
    fingerprint: str
    version: str
    error: str | None = None
    revision: str | None = None
    family: str | None = None
    library: str | None = None
    parameters: int | None = None
    complexity: Complexity | None = None
    reinitialised: tuple[Complexity, ...] = ()
    shuffled: tuple[Complexity, ...] = ()
    baseline: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[LayerRow, ...] = field(default=(), repr=False)
    warnings: tuple[str, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    device: str = "cpu"

    def ratio(self, measure: MeasureName, baseline: BaselineKind = "reinitialised") -> Ratio | None:
        """A figure of the model over that of its copies; None where either has none."""
        own = self.complexity.value(measure) if self.complexity else None
        others = [copy.value(measure) for copy in getattr(self, baseline)]
        known = [other for other in others if other]
        return Ratio(tuple(own / other for other in known)) if own is not None and known else None

    def plane_ratios(
        self, baseline: BaselineKind = "reinitialised", measure: MeasureName = "qubd"
    ) -> tuple[Ratio, ...]:
        """The ratio of a measure for each bit-plane, most significant first; empty where there is none."""
        own = self.complexity.figure(measure) if self.complexity else None
        others = [found for copy in getattr(self, baseline) if (found := copy.figure(measure)) is not None]
        if not isinstance(own, tuple) or not others:
            return ()
        return tuple(
            Ratio(tuple(plane / other for other in copies))
            for plane, copies in zip(own, zip(*others, strict=True), strict=True)
        )

    def ratio_range(self, measure: MeasureName) -> tuple[float, float] | None:
        """Least and greatest ratio that so many weights could show, against the re-initialised copies' mean.

        None where the measure has no known range, or no copy has a figure.
        """
        possible = measure_named(measure).possible
        copies = [value for copy in self.reinitialised if (value := copy.value(measure))]
        if possible is None or self.complexity is None or not copies:
            return None
        low, high = possible(self.complexity.weights)
        mean = statistics.fmean(copies)
        return low / mean, high / mean

    @property
    def sign_ratio_range(self) -> tuple[float, float] | None:
        """Least and greatest ratio that 1-D sign BDM could show at this size."""
        return self.ratio_range("sign")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record; ``from_json`` undoes it."""
        record = dataclasses.asdict(self)
        record["complexity"] = self.complexity.to_json() if self.complexity else None
        for key in BASELINES:
            record[key] = tuple(copy.to_json() for copy in getattr(self, key))
        for layer, own in zip(record["layers"], self.layers, strict=True):
            layer["complexity"] = own.complexity.to_json()
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Row":
        """Read what ``to_json`` gave."""
        known = {field.name for field in dataclasses.fields(cls)}
        pairs = {key: value for key, value in record.items() if key in known}
        for key in BASELINES:
            pairs[key] = tuple(map(Complexity.from_json, pairs.get(key, ())))
        if pairs.get("complexity") is not None:
            pairs["complexity"] = Complexity.from_json(pairs["complexity"])
        pairs["layers"] = tuple(map(_layer, pairs.get("layers", ())))
        pairs["warnings"] = tuple(pairs.get("warnings", ()))
        return cls(**pairs)


def _layer(record: Mapping[str, Any]) -> LayerRow:
    means = [
        {key: tuple(value) if isinstance(value, list) else value for key, value in record[kind].items()}
        for kind in BASELINES
    ]
    return LayerRow(record["name"], tuple(record["shape"]), Complexity.from_json(record["complexity"]), *means)
