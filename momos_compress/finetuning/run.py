"""One training run, from the network or file it starts from to the file it ends in."""

import time
from pathlib import Path
from typing import Any

from momos_compress.common.progress import Progress, silent
from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError, one_line
from momos_compress.finetuning.codebook_mode import open_codebook
from momos_compress.finetuning.identity import describe_training, identity_of
from momos_compress.finetuning.log import read_record, write_record
from momos_compress.finetuning.loop import open_trainer
from momos_compress.finetuning.mode import OpenMode
from momos_compress.finetuning.objective import objective
from momos_compress.finetuning.optimiser import make_optimiser
from momos_compress.finetuning.outcome import FinetuneReport
from momos_compress.finetuning.paper_mode import open_paper
from momos_compress.finetuning.reporting import RESULT, finished_report, measure_before, report_of
from momos_compress.finetuning.settings import FinetuneSettings, Mode
from momos_compress.finetuning.setup import TrainingData, TrainingSetup, open_setup
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint

MODES: dict[Mode, OpenMode] = {"codebook": open_codebook, "paper": open_paper}
"""Name of a mode -> what opens it."""


def finetune(
    source: Checkpoint | MomosFile,
    data: TrainingData,
    settings: FinetuneSettings,
    directory: Path,
    *,
    compression: Settings | None = None,
    teacher: Checkpoint | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> FinetuneReport:
    """Train a network under the mosaic constraint, and write it to a compact file.

    The directory then holds the file (model.momos.safetensors), metrics of every epoch (metrics.csv), the record of
    the run (run.json), and checkpoints from which an interrupted run goes on to the very same weights.

    Args:
        source: A dense checkpoint, which is compressed first and is then its own teacher; or a compressed file.
        data: Where samples to train on, to choose by and to report on are.
        settings: Choices of the training; in mode "paper" dense weights train (arXiv 2602.14896).
        directory: Where everything is written; it is made if it is not there.
        compression: Choices of the compression of a dense checkpoint. Motifs are fitted to samples that are trained
            on, unless ``calibrate`` says otherwise.
        teacher: The original network of a compressed file, whose outputs are learnt from.
        resume: Go on with the run that is in the directory, if one is.
        progress: Told how far each stage is.

    Returns:
        What was trained, with the figures of the file as it was read back.

    Raises:
        MomosError: if settings, network, samples and directory do not go together, or training diverges. What was
            kept until then stays.

    Examples:
        >>> from pathlib import Path
        >>> import momos_compress as mc, momos_zoo  # momos_zoo brings the digits to train on along
        >>> data = mc.TrainingData("digits-train", validation=0.1, test="digits")
        >>> start = mc.open_file("digits.momos.safetensors")
        >>> report = mc.finetune(
        ...     start, data, mc.FinetuneSettings(epochs=1), Path("run"), teacher=mc.open_checkpoint("digits")
        ... )
        >>> report.epochs, Path("run/model.momos.safetensors").exists()
        (1, True)
    """
    setup = open_setup(
        source, data, settings, directory, compression=compression or Settings(), teacher=teacher, progress=progress
    )
    began = time.perf_counter()
    record = _claim(directory, resume=resume)
    setup.processes.wait()  # all have seen what is there before the first writes
    mode = MODES[setup.settings.mode](setup, resumed=record is not None)
    task = objective(mode.model, setup.teacher, setup.settings, setup.loss, setup.processes.device)
    optimiser = make_optimiser(mode.groups, setup.settings)
    identity = identity_of(setup, mode.files)
    trainer = open_trainer(setup, mode, task, optimiser, identity)
    topology = mode.attach(optimiser)
    if record is not None:
        _check_same(directory, record, identity)
        if (report := finished_report(directory, record)) is not None:
            return report
    described = describe_training(setup, identity, topology)
    _write(setup, {**described, "finished": False})
    before = measure_before(trainer)
    resumed = resume and trainer.resume()
    trainer.run()
    if setup.processes.main:
        told = {"epochs": setup.settings.epochs, "best_epoch": trainer.best_epoch, "loss": setup.loss}
        mode.export(directory / RESULT, told)
    setup.processes.wait()
    report = report_of(trainer, before, resumed=resumed, began=began)
    _write(setup, {**described, "finished": True, "result": report.to_json()})
    return report


def _claim(directory: Path, *, resume: bool) -> dict[str, Any] | None:
    """Make the directory; returns the record of the run that is in it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MomosError(
            f"{str(directory)!r} cannot be the run's directory ({one_line(error, 120)}); choose another with `output`"
        ) from error
    record = read_record(directory)
    if record is not None and not resume:
        raise MomosError(
            f"{str(directory)!r} holds a run already; go on with `resume`, or choose another with `output`"
        )
    return record


def _check_same(directory: Path, record: dict[str, Any], identity: str) -> None:
    if record["identity"] != identity:
        raise MomosError(
            f"{str(directory)!r} holds another run: its network, data or settings differ; repeat that run's own "
            "command, or choose another directory with `output`"
        )


def _write(setup: TrainingSetup, record: dict[str, Any]) -> None:
    if setup.processes.main:
        write_record(setup.directory, record)
