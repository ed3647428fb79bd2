"""The figures of one opened model: its own, those of its copies, and their means tensor by tensor."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

from momos_compress.common.stages import Stages
from momos_compress.common.version import version
from momos_compress.errors import MomosError
from momos_compress.measures.complexity import Complexity, Measurement, combined
from momos_compress.measures.one_pass import measure
from momos_compress.measures.registry import Figure, chosen_measures
from momos_compress.sources.baseline import (
    Baseline,
    baseline_tensors,
    choose_baseline,
    measured_names,
    shuffled_baseline,
)
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.timm import timm_family
from momos_compress.study.row_files import recorded
from momos_compress.study.rows import BASELINES, LayerRow, Row
from momos_compress.study.settings import BaselineKind, StudySettings


def measured_row(model: str, checkpoint: Checkpoint, settings: StudySettings, device: str, stages: Stages) -> Row:
    """Measure a checkpoint and its copies.

    Args:
        model: The model as it was asked for.
        checkpoint: Its weights.
        settings: What is measured, and how many copies are made.
        device: Where bits are made.
        stages: Takes the time of each measurement.

    Returns:
        A row without revision and fingerprint.

    Raises:
        MomosError: There is nothing to measure, or a tensor holds NaN or infinity.
    """
    names = measured_names(checkpoint)
    if not names:
        raise MomosError(f"{model} has no floating-point parameters to measure")
    with stages.stage("measure"):
        own = measure(((name, checkpoint.read(name)) for name in names), settings.measures, device=device)
    copies: dict[BaselineKind, list[Measurement]] = {kind: [] for kind in BASELINES}
    notes = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        reinitialised = choose_baseline(checkpoint, seed=seed)
        notes.append(reinitialised.note)
        pair: dict[BaselineKind, Baseline] = {
            "reinitialised": reinitialised,
            "shuffled": shuffled_baseline(seed),
        }
        for kind, baseline in pair.items():
            with stages.stage(kind):
                tensors = baseline_tensors(checkpoint, baseline)
                copies[kind].append(measure(tensors, settings.measures, device=device))
    return Row(
        model=model,
        status="ok",
        fingerprint="",
        version=version(),
        family=_family(checkpoint),
        library=checkpoint.architecture.library if checkpoint.architecture else None,
        parameters=own.total.weights,
        complexity=own.total,
        reinitialised=_totals(copies["reinitialised"]),
        shuffled=_totals(copies["shuffled"]),
        baseline="; ".join(notes),
        settings=recorded(settings),
        layers=tuple(_layers(own, copies, tuple(chosen_measures(settings.measures.also)))),
        warnings=checkpoint.warnings,
        device=device,
    )


def _totals(measurements: Sequence[Measurement]) -> tuple[Complexity, ...]:
    return tuple(measurement.total for measurement in measurements)


def _layers(
    own: Measurement, copies: Mapping[BaselineKind, Sequence[Measurement]], measures: Sequence[str]
) -> Iterator[LayerRow]:
    for index, layer in enumerate(own.layers):
        means = {kind: _means([copy.layers[index].complexity for copy in copies[kind]], measures) for kind in copies}
        yield LayerRow(layer.name, layer.shape, layer.complexity, means["reinitialised"], means["shuffled"])


def _means(copies: Sequence[Complexity], measures: Sequence[str]) -> dict[str, Figure]:
    """Measure -> mean over copies of one tensor; measures that it is too small for are left out."""
    means: dict[str, Figure] = {}
    for name in measures:
        values = [value for copy in copies if (value := copy.figure(name)) is not None]
        if values and len(values) == len(copies):
            means[name] = combined(values, statistics.fmean)
    return means


def _family(checkpoint: Checkpoint) -> str:
    architecture = checkpoint.architecture
    if architecture is None:
        return "file"
    if architecture.library == "timm":
        return timm_family(architecture.name)
    return str(architecture.arguments.get("model_type") or architecture.name)
