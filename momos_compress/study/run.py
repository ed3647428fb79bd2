"""A study: many models measured, each row on the disk the moment it exists, resumable after any end."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from momos_compress.common.version import version
from momos_compress.errors import MomosError
from momos_compress.measures.registry import chosen_measures
from momos_compress.sources import hub
from momos_compress.sources.open import needs_hub
from momos_compress.study import download_cache
from momos_compress.study.events import Engine, Event
from momos_compress.study.model import Job, revision_of
from momos_compress.study.row_files import fingerprint, read_row, recorded, row_path, write_row
from momos_compress.study.rows import Row
from momos_compress.study.settings import StudySettings

CHECKS = 8
"""Revisions asked for at a time when a study is resumed."""


def run_study(
    models: Sequence[str],
    job: Job,
    directory: Path,
    engine: Engine,
    *,
    observe: Callable[[Event], None] = lambda event: None,
) -> list[Row]:
    """Measure models, one file for each in ``directory/rows``.

    A row of an earlier run is kept if its fingerprint (model, revision, settings, version) is the same as now; a
    failed one is tried again. Where the hub cannot say what a model's revision is now, the row's own is taken.

    Args:
        models: Anything that ``open_checkpoint`` takes.
        job: What the models have in common.
        directory: Results directory; made where it is missing.
        engine: Measures the models, each in a process of its own.
        observe: Told every event, after its row is written.

    Returns:
        The rows in the order of the models; a model that failed is a row, too.

    Raises:
        MomosError: Nothing can run: wrong settings, no models, a directory in use or not writable.
    """
    _check(job.settings)
    if not models:
        raise MomosError("no models to study; name some, or a list of them")
    with _only_here(directory):
        if job.cache is not None:
            download_cache.make(job.cache)
        kept = _kept(models, job, directory)
        for row in kept.values():
            observe(Event("kept", row.model, row))
        rows = dict(kept)
        events = engine([model for model in models if model not in kept], job)
        try:
            for event in events:
                if event.row is not None:
                    write_row(directory, event.row)
                    rows[event.model] = event.row
                observe(event)
        finally:
            close = getattr(events, "close", None)
            if close is not None:
                close()
    return [rows[model] for model in models]


def ask_for_hub(models: Sequence[str], job: Job) -> Job:
    """Note in a job that the hub cannot be reached from this machine, so that no model waits for it in turn."""
    needed = job.settings.pretrained and any(map(needs_hub, models))
    return replace(job, hub=hub.reachable()) if needed else job


def _check(settings: StudySettings) -> None:
    measures = settings.measures
    if settings.seeds < 1:
        raise MomosError(f"`seeds` must be at least 1, not {settings.seeds}")
    if settings.seed < 0:
        raise MomosError(f"`seed` must be at least 0, not {settings.seed}")
    if not 1 <= measures.planes <= 16:
        raise MomosError(f"`planes` must lie in 1 to 16, not {measures.planes}")
    if measures.percentile is not None and not 50 < measures.percentile <= 100:
        raise MomosError(f"`percentile` must lie above 50 and at most at 100, not {measures.percentile:g}")
    chosen_measures(measures.also)


@contextlib.contextmanager
def _only_here(directory: Path) -> Iterator[None]:
    """Make the results directory, and hold it for this process alone."""
    try:
        (directory / "rows").mkdir(parents=True, exist_ok=True)
        with FileLock(directory / ".lock", timeout=0):
            for half_written in (directory / "rows").glob(".*.tmp"):  # what a kill left
                half_written.unlink(missing_ok=True)
            yield
    except Timeout:
        raise MomosError(f"{directory} is in use by another study; wait for it, or choose another `output`") from None
    except OSError as error:
        raise MomosError(f"{directory} cannot be used ({error.strerror or error}); choose another `output`") from error


def _kept(models: Sequence[str], job: Job, directory: Path) -> dict[str, Row]:
    """Model -> row of an earlier run that still holds."""
    earlier = []
    for model in models:
        path = row_path(directory, model)
        with contextlib.suppress(MomosError):  # a damaged row is measured again
            if path.is_file() and (row := read_row(path)).status == "ok":
                earlier.append(row)
    record = recorded(job.settings)

    def holds(row: Row) -> bool:
        if row.fingerprint != fingerprint(row.model, row.revision, record, version()):
            return False  # other settings or another version: no need to ask for the revision
        if not job.hub and needs_hub(row.model):
            return True
        try:
            now = revision_of(row.model, job.settings)
        except MomosError:
            return True  # it cannot be measured again either
        return now is None or now == row.revision

    with ThreadPoolExecutor(CHECKS) as pool:
        return {row.model: row for row, good in zip(earlier, pool.map(holds, earlier), strict=True) if good}
