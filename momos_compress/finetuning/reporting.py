"""The figures of a run: before training, and of the file that it ends in."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from momos_compress.container.reader import MomosFile, load_file
from momos_compress.errors import MomosError
from momos_compress.finetuning.evaluation import accuracy
from momos_compress.finetuning.identity import describe_data
from momos_compress.finetuning.loop import Trainer
from momos_compress.finetuning.outcome import FinetuneReport, StageFigures
from momos_compress.finetuning.samples import Samples
from momos_compress.finetuning.setup import TrainingSetup
from momos_compress.networks.load import load_model

RESULT = "model.momos.safetensors"
"""Name of the file that a run ends in."""


def measure_before(trainer: Trainer) -> dict[str, StageFigures]:
    """Measure the teacher, and the network before training where it is a file's, on validation and test samples."""
    setup = trainer.setup
    found: dict[str, StageFigures] = {"validation": {}, "test": {}}
    for part, samples in _reported(setup):
        if trainer.mode.start is not None:
            found[part]["before"] = trainer.measure(samples)
        if samples.labelled and setup.teacher is not None:
            found[part]["teacher"] = _accuracy(setup, setup.teacher, samples)
    return found


def report_of(trainer: Trainer, before: dict[str, StageFigures], *, resumed: bool, began: float) -> FinetuneReport:
    """Measure the file of a run that has ended, and gather what is told of it.

    Args:
        trainer: The run.
        before: What ``measure_before`` found; figures of the file are added.
        resumed: Whether it went on from a checkpoint.
        began: When it began, by ``time.perf_counter``.
    """
    setup, start = trainer.setup, trainer.mode.start
    path = setup.directory / RESULT
    network = load_model(path, device=setup.processes.device)
    for part, samples in _reported(setup):
        if samples.labelled:
            before[part]["after"] = _accuracy(setup, network, samples)
    recipe, file_bytes = MomosFile(path).recipe, path.stat().st_size
    return FinetuneReport(
        directory=str(setup.directory),
        output=str(path),
        mode=setup.settings.mode,
        loss=setup.loss,
        epochs=setup.settings.epochs,
        best_epoch=trainer.best_epoch,
        k=recipe.k,
        s=recipe.s,
        file_bytes=file_bytes,
        file_bytes_before=None if start is None else start.stat().st_size,
        ratio=None if setup.original is None else setup.original.source_bytes / file_bytes,
        validation=before["validation"],
        test=before["test"],
        data=describe_data(setup.splits),
        processes=setup.processes.count,
        resumed=resumed,
        seconds=time.perf_counter() - began,
    )


def finished_report(directory: Path, record: Mapping[str, Any]) -> FinetuneReport | None:
    """Read what a run that has ended told; None where it has not, or its file is not as it was left."""
    path = directory / RESULT
    if not record.get("finished") or not path.is_file():
        return None
    try:
        report = FinetuneReport(**record["result"])
        load_file(path)  # verifies every tensor
    except (KeyError, TypeError, MomosError):
        return None  # it is made anew
    return replace(report, directory=str(directory), output=str(path), resumed=True)


def _reported(setup: TrainingSetup) -> list[tuple[str, Samples]]:
    parts = (("validation", setup.splits.validation), ("test", setup.splits.test))
    return [(part, samples) for part, samples in parts if samples is not None]


def _accuracy(setup: TrainingSetup, model: nn.Module, samples: Samples) -> dict[str, float]:
    return accuracy(model, setup.kind, samples, batch_size=setup.settings.batch_size, device=setup.processes.device)
