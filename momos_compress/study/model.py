"""One model of a study: open it, have it measured, and give its row whatever happens."""

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from momos_compress.common.device import resolve_device
from momos_compress.common.stages import Stages
from momos_compress.common.version import version
from momos_compress.errors import MomosError, one_line
from momos_compress.sources import hub
from momos_compress.sources.open import current_revision, hub_repository, open_checkpoint
from momos_compress.study import download_cache
from momos_compress.study.measured import measured_row
from momos_compress.study.row_files import fingerprint, recorded
from momos_compress.study.rows import Row
from momos_compress.study.settings import StudySettings


@dataclass(frozen=True)
class Job:
    """What every model of a study has in common, as it is handed to the processes that measure.

    Attributes:
        settings: What is measured, and against which copies.
        imports: Modules that register sources, architectures and measures, such as ``momos_zoo``.
        cache: Directory that weights are downloaded to; None for the hub's own cache.
        cache_limit: Bytes of the cache above which measured weights are dropped; None keeps them.
        hub: False where the hub was found to be out of reach, so that no model waits for it again.
    """

    settings: StudySettings
    imports: tuple[str, ...] = ()
    cache: Path | None = None
    cache_limit: int | None = None
    hub: bool = True


def revision_of(model: str, settings: StudySettings) -> str | None:
    """The revision that would be measured now; None where a hub that cannot be reached would have to say it."""
    return current_revision(model) if settings.pretrained else f"random, seed {settings.seed}"


def study_model(model: str, job: Job) -> Row:
    """Measure one model. What a user can mend becomes a failed row; anything else is our own fault, and raises."""
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
    """Make a row that tells why there are no figures."""
    record = recorded(settings)
    mark = fingerprint(model, revision, record, version())
    return Row(model, "failed", mark, version(), one_line(error, 500), revision, settings=record)


@contextlib.contextmanager
def _downloads_held(model: str, job: Job) -> Iterator[None]:
    """Keep other processes from this model's repository, where measured weights are dropped."""
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
        row = measured_row(model, checkpoint, settings, device, stages)
    finally:
        if job.cache is not None and job.cache_limit is not None:
            download_cache.make_room(job.cache, job.cache_limit, checkpoint.files)
    revision = (checkpoint.provenance.get("revision") if settings.pretrained else None) or revision
    mark = fingerprint(model, revision, row.settings, row.version)
    return dataclasses.replace(row, revision=revision, fingerprint=mark)
