"""A training run measured: the complexity of each checkpoint, beside the metrics of its step."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.measures.bits import sign_bits
from momos_compress.measures.complexity import Complexity, Measurement, measure
from momos_compress.measures.ctm import MATRIX_SIDE
from momos_compress.measures.settings import MeasureSettings
from momos_compress.sources.baseline import measured_names
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.open import open_checkpoint
from momos_compress.trace.files import RunFiles
from momos_compress.trace.metrics import Metrics

MEASURES = (
    "sign",
    "windowed",
    "matrix",
    "qubd",
    "qubd_plane_1",
    "sign_entropy",
    "matrix_entropy",
    "qubd_plane_1_entropy",
    "matrix_entropy_by_tensor",
    "qubd_plane_1_entropy_by_tensor",
    "gzip_sign_rate",
    "l2",
    "sparsity",
    "flipped",
)
"""What is measured of a checkpoint, in the order of tables.

BDM in bits (1-D signs, windowed, 4 x 4 signs, QuBD's sum over planes, QuBD's most significant plane); Shannon entropy
of the same blocks in bits per block, over the network's pooled blocks; by_tensor: its blocks times its entropy, in
bits, summed over tensors as 4 x 4 BDM and QuBD are, so that the two differ in nothing but the measure. flipped: the
share of signs that differ from the run's first checkpoint.
"""


@dataclass(frozen=True)
class Point:
    """One checkpoint. A measure is None where the network is too small for it; a metric may be absent."""

    step: int
    file: str
    measures: Mapping[str, float | None]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Run:
    """A measured run, its points in the order of steps; runs of one group differ in their seed."""

    name: str
    group: str
    metrics: tuple[str, ...]
    points: tuple[Point, ...]


def group_of(name: str) -> str:
    """A run's name without its seed: "a-seed3" and "a_seed12" are of the group "a"."""
    return re.sub(r"(?<=.)[-_]seed[0-9]+$", "", name)


def measure_run(run: RunFiles, metrics: Metrics, planes: int, measured: Callable[[], None] = lambda: None) -> Run:
    """Measure a run's checkpoints one after another; ``measured`` is called after each.

    MomosError where a checkpoint cannot be read, or has other tensors than the first one.
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
        points.append(Point(step, path.name, figures, dict(metrics.values.get(step, {}))))
        measured()
    return Run(run.name, group_of(run.name), metrics.names, tuple(points))


class _Signs:
    """The signs of a run's first checkpoint, packed eight to a byte, and how many differ in the one being read."""

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
        """The checkpoint's measured tensors; the flips are counted as they pass."""
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
    total = found.total
    figures = {
        "sign": total.sign,
        "windowed": total.windowed,
        "matrix": total.matrix,
        "qubd": total.value("qubd"),
        "qubd_plane_1": total.qubd[0] if total.qubd else None,
        "sign_entropy": total.sign_entropy,
        "matrix_entropy": total.matrix_entropy,
        "qubd_plane_1_entropy": total.qubd_entropy[0] if total.qubd_entropy else None,
        "matrix_entropy_by_tensor": _by_tensor(found, lambda c: c.matrix_entropy),
        "qubd_plane_1_entropy_by_tensor": _by_tensor(found, lambda c: c.qubd_entropy[0] if c.qubd_entropy else None),
        "gzip_sign_rate": total.sign_rates["gzip"] if total.sign_rates else None,
        "l2": total.l2,
        "sparsity": total.sparsity,
        "flipped": flipped / total.weights if total.weights else None,
    }
    return {name: figures[name] for name in MEASURES}


def _by_tensor(found: Measurement, entropy: Callable[[Complexity], float | None]) -> float | None:
    """Bits: each tensor's number of 4 x 4 blocks times its entropy, summed over the tensors that have one."""
    bits = []
    for layer in found.layers:
        if (value := entropy(layer.complexity)) is not None:
            rows, columns = layer.shape[0], math.prod(layer.shape[1:])
            bits.append((rows // MATRIX_SIDE) * (columns // MATRIX_SIDE) * value)
    return math.fsum(bits) if bits else None
