"""What a training run works with, opened and checked before anything trains."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from momos_compress.common.device import resolve_device
from momos_compress.common.progress import Progress, silent
from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError
from momos_compress.finetuning.kinds import kind_of
from momos_compress.finetuning.objective import chosen_loss
from momos_compress.finetuning.processes import Processes, open_processes
from momos_compress.finetuning.samples import SampleKind
from momos_compress.finetuning.settings import FinetuneSettings, Loss
from momos_compress.finetuning.splits import Splits, open_splits
from momos_compress.networks.load import load_model, model_of
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class TrainingData:
    """Where the samples of a run are.

    Attributes:
        train: Data to train on: an image folder, a tar of one, a table of texts, or a registered name.
        validation: Data that the best epoch is chosen by, or the share of ``train`` to hold out for it.
        test: Data to report on; None: nothing is reported but validation.

    Examples:
        >>> import momos_compress as mc
        >>> mc.TrainingData("photos/", validation=0.1, test=None)
        TrainingData(train='photos/', validation=0.1, test=None)
    """

    train: str
    validation: str | float
    test: str | None = None


@dataclass(frozen=True)
class TrainingSetup:
    """What a run works with; the same for both modes.

    Attributes:
        source: The dense checkpoint or compressed file that the run begins with.
        original: The dense checkpoint that the file is, or will be, made from; None where it is not known.
        teacher: The network of ``original`` on its device; None where there is none.
        kind: How the network takes its samples.
        splits: The samples.
        loss: What is made small.
        settings: Choices of the training.
        compression: Choices of the compression that makes the start, or the projections.
        directory: Where everything is written.
        processes: This process among those of the run.
        progress: Told how far each stage is; silent in all processes but one.
    """

    source: Checkpoint | MomosFile
    original: Checkpoint | None
    teacher: nn.Module | None
    kind: SampleKind
    splits: Splits
    loss: Loss
    settings: FinetuneSettings
    compression: Settings
    directory: Path
    processes: Processes
    progress: Progress


def open_setup(
    source: Checkpoint | MomosFile,
    data: TrainingData,
    settings: FinetuneSettings,
    directory: Path,
    *,
    compression: Settings,
    teacher: Checkpoint | None,
    progress: Progress,
) -> TrainingSetup:
    """Open networks and samples, and check that they go together.

    Raises:
        MomosError: if a setting is wrong, the network is none that can be trained, or samples do not fit it.
    """
    settings = settings.resolved()
    settings = replace(settings, device=resolve_device(settings.device))
    processes, paper = open_processes(settings.device), settings.mode == "paper"
    if isinstance(source, MomosFile) and paper:
        raise MomosError("`mode='paper'` trains dense weights; name the network itself, not a compressed file")
    original = teacher if isinstance(source, MomosFile) else source
    taught_by = None if original is None else model_of(original, device=processes.device)
    loss = chosen_loss(settings, teacher=taught_by is not None)
    kind = _kind(source, original, taught_by, processes.device)
    splits = open_splits(kind, data.train, data.validation, data.test, seed=settings.seed, labels=loss != "distil")
    return TrainingSetup(
        source=source,
        original=original,
        teacher=taught_by,
        kind=kind,
        splits=splits,
        loss=loss,
        settings=settings,
        compression=replace(
            compression,
            bdm=False,
            device=settings.device,
            seed=settings.seed,
            protocol="paper" if paper else compression.protocol,
        ),
        directory=directory,
        processes=processes,
        progress=progress if processes.main else silent,
    )


def _kind(
    source: Checkpoint | MomosFile, original: Checkpoint | None, teacher: nn.Module | None, device: str
) -> SampleKind:
    if original is not None and teacher is not None:
        return kind_of(teacher, device, original.source)
    assert isinstance(source, MomosFile)
    # A tokenizer may lie beside a compressed file as beside a dense one.
    return kind_of(load_model(source.path), device, str(source.path))
