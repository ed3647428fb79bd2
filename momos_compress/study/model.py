"""One model of a study: open it, measure it, measure its copies, and give its row."""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from momos_compress.common.stages import Stages
from momos_compress.common.version import version
from momos_compress.errors import MomosError, one_line
from momos_compress.measures.complexity import Complexity, Measurement, measure
from momos_compress.planning.plan import resolve_device
from momos_compress.sources import hub
from momos_compress.sources.baseline import (
    Baseline,
    baseline_tensors,
    choose_baseline,
    measured_names,
    shuffled_baseline,
)
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.open import current_revision, hub_repository, open_checkpoint
from momos_compress.sources.timm import timm_family
from momos_compress.study import download_cache
from momos_compress.study.rows import MEASURES, LayerRow, Row, fingerprint
from momos_compress.study.settings import StudySettings


@dataclass(frozen=True)
class Job:
    """What every model of a study has in common, as it is handed to the processes that measure.

    imports: modules that register sources and architectures (such as ``momos_zoo``). cache: where weights are
    downloaded to, None for the hub's own cache. cache_limit: bytes above which measured weights are dropped. hub: False
    where the hub was found to be out of reach, so that no model waits for it again.
    """

    settings: StudySettings
    imports: tuple[str, ...] = ()
    cache: Path | None = None
    cache_limit: int | None = None
    hub: bool = True


def recorded(settings: StudySettings) -> dict[str, Any]:
    """The settings that figures depend on. Where they were computed is none of them: every device gives the same."""
    record = dataclasses.asdict(settings)
    del record["device"]
    return record


def revision_of(model: str, settings: StudySettings) -> str | None:
    """What would be measured now; None where nobody says (a hub that cannot be reached)."""
    return current_revision(model) if settings.pretrained else f"random, seed {settings.seed}"


def study_model(model: str, job: Job) -> Row:
    """The row of one model. What a user can mend becomes a failed row; anything else is an error of ours and raises."""
    for name in job.imports:
        importlib.import_module(name)
    if not job.hub:
        hub.take_as_unreachable()
    stages = Stages()
    revision = None
    try:
        if job.cache is not None:
            download_cache.use(job.cache)
        with stages.stage("revision"):
            revision = revision_of(model, job.settings)
        with _downloads_held(model, job):
            row = _measured(model, job, revision, stages)
    except MomosError as error:
        row = failed_row(model, job.settings, str(error), revision)
    except (MemoryError, torch.OutOfMemoryError):
        row = failed_row(model, job.settings, "out of memory; fewer workers leave more to each", revision)
    times: dict[str, float] = {}
    for stage in stages.done:
        times[stage.name] = times.get(stage.name, 0.0) + stage.seconds
    return dataclasses.replace(row, stages=times, seconds=stages.seconds, peak_memory_bytes=stages.peak_memory_bytes)


def failed_row(model: str, settings: StudySettings, error: str, revision: str | None = None) -> Row:
    """A row that tells why there are no figures."""
    record = recorded(settings)
    mark = fingerprint(model, revision, record, version())
    return Row(model, "failed", mark, version(), one_line(error, 500), revision, settings=record)


@contextlib.contextmanager
def _downloads_held(model: str, job: Job) -> Iterator[None]:
    """Where measured weights are dropped: no other process uses, or drops, what this model comes from meanwhile."""
    dropped = job.settings.pretrained and job.cache is not None and job.cache_limit is not None
    repository = hub_repository(model) if dropped else None
    with download_cache.alone(job.cache, repository) if job.cache and repository else contextlib.nullcontext():
        yield


def _measured(model: str, job: Job, revision: str | None, stages: Stages) -> Row:
    settings = job.settings
    device = resolve_device(settings.device)
    with stages.stage("open"):
        checkpoint = open_checkpoint(model, pretrained=settings.pretrained, seed=settings.seed)
    try:
        row = _figures(model, checkpoint, settings, device, stages)
    finally:
        if job.cache is not None and job.cache_limit is not None:
            download_cache.make_room(job.cache, job.cache_limit, checkpoint.files)
    revision = (checkpoint.provenance.get("revision") if settings.pretrained else None) or revision
    mark = fingerprint(model, revision, row.settings, row.version)
    return dataclasses.replace(row, revision=revision, fingerprint=mark)


def _figures(model: str, checkpoint: Checkpoint, settings: StudySettings, device: str, stages: Stages) -> Row:
    names = measured_names(checkpoint)
    if not names:
        raise MomosError(f"{model} has no floating-point parameters to measure")
    with stages.stage("measure"):
        own = measure(((name, checkpoint.read(name)) for name in names), settings.measures, device=device)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    copies: dict[str, list[Measurement]] = {"reinitialised": [], "shuffled": []}
    notes = []
    for seed in seeds:
        pair: tuple[tuple[str, Baseline], ...] = (
            ("reinitialised", choose_baseline(checkpoint, seed=seed)),
            ("shuffled", shuffled_baseline(seed)),
        )
        for kind, baseline in pair:
            with stages.stage(kind):
                tensors = baseline_tensors(checkpoint, baseline)
                copies[kind].append(measure(tensors, settings.measures, device=device))
        notes.append(pair[0][1].note)
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
        layers=tuple(_layers(own, copies)),
        warnings=checkpoint.warnings,
        device=device,
    )


def _totals(measurements: Sequence[Measurement]) -> tuple[Complexity, ...]:
    return tuple(measurement.total for measurement in measurements)


def _layers(own: Measurement, copies: dict[str, list[Measurement]]) -> Iterator[LayerRow]:
    for index, layer in enumerate(own.layers):
        means = [_means([copy.layers[index].complexity for copy in copies[kind]]) for kind in copies]
        yield LayerRow(layer.name, layer.shape, layer.complexity, *means)


def _means(copies: list[Complexity]) -> dict[str, float | tuple[float, ...]]:
    """Measure -> mean over copies of one tensor; measures that it is too small for are left out."""
    means: dict[str, float | tuple[float, ...]] = {}
    for measure_name in MEASURES:
        values = [getattr(copy, measure_name) for copy in copies]
        if None in values or not values:
            continue
        if measure_name == "qubd":
            means[measure_name] = tuple(statistics.fmean(plane) for plane in zip(*values, strict=True))
        else:
            means[measure_name] = statistics.fmean(values)
    return means


def _family(checkpoint: Checkpoint) -> str:
    architecture = checkpoint.architecture
    if architecture is None:
        return "file"
    if architecture.library == "timm":
        return timm_family(architecture.name)
    return str(architecture.arguments.get("model_type") or architecture.name)
