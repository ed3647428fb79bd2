"""Training runs measured: the figures of each checkpoint, beside the metrics of its step."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.measures.bits import sign_bits
from momos_compress.measures.complexity import Measurement
from momos_compress.measures.one_pass import measure
from momos_compress.measures.settings import MeasureSettings
from momos_compress.sources.baseline import measured_names
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.open import open_checkpoint
from momos_compress.trace.files import RunFiles
from momos_compress.trace.metrics import Metrics
from momos_compress.trace.traced import FLIPPED, traced_figures


@dataclass(frozen=True)
class TracePoint:
    """One checkpoint of a run.

    Attributes:
        step: Step of training.
        file: Name of its file.
        measures: Figure -> its value; None where the network is too small for it.
        metrics: Metric -> its value; one that has none at this step is absent.
    """

    step: int
    file: str
    measures: Mapping[str, float | None]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """A measured run.

    Attributes:
        name: The run's name.
        group: The name without the seed; runs of one group differ in nothing else.
        metrics: Names of its metrics.
        points: Its checkpoints in the order of steps.
    """

    name: str
    group: str
    metrics: tuple[str, ...]
    points: tuple[TracePoint, ...]


def group_of(name: str) -> str:
    """A run's name without its seed, as "a" for "a-seed3" and "a_seed12"."""
    return re.sub(r"(?<=.)[-_]seed[0-9]+$", "", name)


def measure_run(run: RunFiles, metrics: Metrics, planes: int, measured: Callable[[], None] = lambda: None) -> Run:
    """Measure a run's checkpoints one after another.

    Args:
        run: Its files.
        metrics: Its metrics.
        planes: Bit-planes of QuBD.
        measured: Called after each checkpoint.

    Raises:
        MomosError: A checkpoint cannot be read, or has other tensors than the first one.
    """
    first: _Signs | None = None
    points = []
    for step, path in run.checkpoints:
        checkpoint = open_checkpoint(str(path))
        if first is None:
            first = _Signs(path, _shapes(checkpoint))
        first.check(path, _shapes(checkpoint))
        try:
            found = measure(first.compared(checkpoint), MeasureSettings(planes=planes, percentile=None, rates="sign"))
        except MomosError as error:
            raise MomosError(f"{str(path)!r}: {error}") from error
        figures = _figures(found, first.flipped)
        points.append(TracePoint(step, path.name, figures, dict(metrics.values.get(step, {}))))
        measured()
    return Run(run.name, group_of(run.name), metrics.names, tuple(points))


class _Signs:
    """The signs of a run's first checkpoint, eight to the byte, and how many differ in the one being read."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.path, self.shapes = path, shapes
        self.packed: dict[str, list[np.ndarray]] = {}
        self.flipped = 0

    def check(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        if list(shapes.items()) == list(self.shapes.items()):
            return
        for name in (*self.shapes, *shapes):
            here, there = shapes.get(name), self.shapes.get(name)
            if here != there:
                found, expected = ("absent" if shape is None else str(list(shape)) for shape in (here, there))
                raise MomosError(
                    f"{str(path)!r} is of another network than {self.path.name!r}: {name} is {found}, not {expected}; "
                    "keep one network's checkpoints in a directory"
                )
        raise MomosError(f"{str(path)!r} has its tensors in another order than {self.path.name!r}")

    def compared(self, checkpoint: Checkpoint) -> Iterator[tuple[str, torch.Tensor]]:
        """The checkpoint's measured tensors, whose flips are counted as they pass."""
        self.flipped = 0
        for name in self.shapes:
            tensor = checkpoint.read(name)
            packed = [np.packbits(bits) for bits in sign_bits(tensor)]
            before = self.packed.setdefault(name, packed)
            self.flipped += sum(
                int(np.unpackbits(a ^ b).sum(dtype=np.int64)) for a, b in zip(before, packed, strict=True)
            )
            yield name, tensor


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    stored = {info.name: info.shape for info in checkpoint.tensors.infos}
    return {name: stored[checkpoint.tensors.aliases.get(name, name)] for name in measured_names(checkpoint)}


def _figures(found: Measurement, flipped: int) -> dict[str, float | None]:
    figures = {name: each.read(found) for name, each in traced_figures().items()}
    return figures | {FLIPPED: flipped / found.total.weights if found.total.weights else None}
