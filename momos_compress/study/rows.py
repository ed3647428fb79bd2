"""The rows of a study: one record a model, each in a small file of its own, and the ratios that follow from them."""

import dataclasses
import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from momos_compress.common.atomic import atomic_writer
from momos_compress.errors import MomosError, one_line
from momos_compress.measures.complexity import Complexity
from momos_compress.measures.settings import Measure
from momos_compress.study.settings import BaselineKind

MEASURES: tuple[Measure, ...] = get_args(Measure)
BASELINES: tuple[BaselineKind, ...] = get_args(BaselineKind)


@dataclass(frozen=True)
class Ratio:
    """A model's measure over its baseline's, one value a seed; ``mean``, ``low`` and ``high`` sum them up."""

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
    """One tensor of a model: its own complexity, and the means over the seeds of its baselines' figures.

    reinitialised, shuffled: measure -> mean in bits; a measure that the tensor is too small for is absent. qubd is one
    value a plane.
    """

    name: str
    shape: tuple[int, ...]
    complexity: Complexity
    reinitialised: Mapping[str, float | tuple[float, ...]]
    shuffled: Mapping[str, float | tuple[float, ...]]


@dataclass(frozen=True)
class Row:
    """What a study found of one model; a model that failed has its error and nothing measured.

    model: as it was asked for. revision: what exactly was measured (a commit, a digest of the files, "random seed N").
    family: the timm module or the transformers model type; "file" where no architecture is known.
    baseline: how the re-initialised copies were made. fingerprint: see ``fingerprint``.
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

    def ratio(self, measure: Measure, baseline: BaselineKind = "reinitialised") -> Ratio | None:
        """BDM of the model over BDM of the baseline; None where either has no value."""
        own = self.complexity.value(measure) if self.complexity else None
        others = [copy.value(measure) for copy in getattr(self, baseline)]
        known = [other for other in others if other]
        return Ratio(tuple(own / other for other in known)) if own is not None and known else None

    def plane_ratios(self, baseline: BaselineKind = "reinitialised") -> tuple[Ratio, ...]:
        """QuBD's ratio for each bit-plane, most significant first; empty where there is none."""
        own = self.complexity.qubd if self.complexity else None
        others = [copy.qubd for copy in getattr(self, baseline) if copy.qubd is not None]
        if own is None or not others:
            return ()
        return tuple(
            Ratio(tuple(plane / other for other in copies))
            for plane, copies in zip(own, zip(*others, strict=True), strict=True)
        )

    @property
    def sign_ratio_range(self) -> tuple[float, float] | None:
        """Least and greatest ratio that 1-D sign BDM could show at this size, against the copies' mean."""
        copies = [copy.sign for copy in self.reinitialised if copy.sign]
        if self.complexity is None or not copies:
            return None
        low, high = self.complexity.sign_range
        mean = statistics.fmean(copies)
        return low / mean, high / mean

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready record; ``from_json`` undoes it."""
        return dataclasses.asdict(self)

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


def fingerprint(model: str, revision: str | None, settings: Mapping[str, Any], version: str) -> str:
    """Digest of all that a row's figures depend on: a row of another fingerprint is measured again."""
    record = json.dumps([model, revision, settings, version], sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()


def row_path(directory: Path, model: str) -> Path:
    """Where the row of ``model`` lies in a results directory: a readable name, made unique by a digest."""
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in model.rstrip("/").split("/")[-1])[:80]
    digest = hashlib.sha256(model.encode(errors="surrogatepass")).hexdigest()[:8]
    return directory / "rows" / f"{stem.lstrip('.')}.{digest}.json"


def write_row(directory: Path, row: Row) -> None:
    """Write a row's file, whole or not at all."""
    path = row_path(directory, row.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_writer(path) as file:
        file.write(json.dumps(_finite(row.to_json()), allow_nan=False).encode())


def _finite(value: Any) -> Any:
    """JSON has no infinity; a norm that overflowed is told as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def read_row(path: Path) -> Row:
    """A row's file; MomosError where it is damaged."""
    try:
        return Row.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MomosError(f"{path}: not a row of a study ({one_line(error, 120)}); delete it and run again") from error


def read_rows(directory: Path) -> list[Row]:
    """All rows of a results directory, by model; MomosError where it holds none."""
    paths = sorted((directory / "rows").glob("*.json"))
    if not paths:
        raise MomosError(f"{directory}: no rows of a study; run 'momos-compress study -o {directory}' first")
    return sorted((read_row(path) for path in paths), key=lambda row: row.model)


def ratio_column(measure: str, baseline: BaselineKind) -> str:
    """The column of ``columns`` that holds the mean ratio; ``_low`` and ``_high`` after it name the seeds' range."""
    return f"{measure}_ratio" if baseline == "reinitialised" else f"{measure}_{baseline}_ratio"


def columns(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows as flat records with the same keys: what the CSV and the table show. Absent figures are None.

    For each measure: ``M_bits``, then ``M_ratio``, ``M_ratio_low``, ``M_ratio_high`` against re-initialised copies
    (mean, least and greatest over seeds), and ``M_shuffled_ratio`` with the same. ``sign_possible_low`` and ``_high``:
    between which ratios 1-D sign BDM can lie at that size. ``qubd_plane_1_ratio`` is the most significant plane's.
    """
    planes = max((len(row.plane_ratios()) for row in rows), default=0)
    return [_flat(row, planes) for row in rows]


def _flat(row: Row, planes: int) -> dict[str, Any]:
    own = row.complexity
    record: dict[str, Any] = {
        "model": row.model,
        "status": row.status,
        "family": row.family,
        "parameters": row.parameters,
        "seeds": len(row.reinitialised) or None,
    }
    for measure in MEASURES:
        record[f"{measure}_bits"] = own.value(measure) if own else None
        for baseline in BASELINES:
            column, ratio = ratio_column(measure, baseline), row.ratio(measure, baseline)
            record[column] = ratio.mean if ratio else None
            record[f"{column}_low"] = ratio.low if ratio else None
            record[f"{column}_high"] = ratio.high if ratio else None
    record["sign_possible_low"], record["sign_possible_high"] = row.sign_ratio_range or (None, None)
    by_plane = row.plane_ratios()
    for plane in range(planes):
        record[f"qubd_plane_{plane + 1}_ratio"] = by_plane[plane].mean if plane < len(by_plane) else None
    for key in ("sign_entropy", "matrix_entropy", "sparsity", "l2"):
        record[key] = getattr(own, key) if own else None
    for kind in ("sign_rates", "raw_rates"):
        rates = (getattr(own, kind) if own else None) or {}
        for compressor in ("gzip", "bz2", "lzma"):
            record[f"{compressor}_{kind.removesuffix('_rates')}_rate"] = rates.get(compressor)
    return record | {
        "baseline": row.baseline,
        "revision": row.revision,
        "seconds": row.seconds,
        "peak_memory_bytes": row.peak_memory_bytes or None,
        "error": row.error,
    }
