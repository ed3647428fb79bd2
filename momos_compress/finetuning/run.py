"""One training run, from the network or file it starts from to the file it ends in."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from momos_compress.compression.pipeline import Fitted, compress
from momos_compress.container.reader import MomosFile, load_file
from momos_compress.errors import MomosError, one_line
from momos_compress.finetuning.export import write_tuned
from momos_compress.finetuning.kinds import check_alike, kind_of
from momos_compress.finetuning.log import read_record, write_record
from momos_compress.finetuning.loop import Tell, Trainer, accuracy
from momos_compress.finetuning.objective import chosen_loss, objective
from momos_compress.finetuning.outcome import Figures, FinetuneReport
from momos_compress.finetuning.paper import FreeNetwork, mosaic_of
from momos_compress.finetuning.processes import Processes
from momos_compress.finetuning.samples import Samples, described, open_splits
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.start import compress_start
from momos_compress.finetuning.topologies import fix
from momos_compress.measures.bdm import bdm_and_entropy
from momos_compress.measures.bits import sign_histogram
from momos_compress.measures.ctm import string_complexities
from momos_compress.modules.parametrised import parametrise
from momos_compress.networks.load import load_model, model_of
from momos_compress.planning.plan import resolve_device
from momos_compress.settings import Settings
from momos_compress.sources.baseline import measured_names
from momos_compress.sources.checkpoint import Checkpoint, describe_files

if TYPE_CHECKING:
    from timm.task import TrainingTask

START, RESULT = "start.momos.safetensors", "model.momos.safetensors"
INCIDENTAL = ("workers", "save_every", "device", "complexity", "tracker")
"""Settings that change nothing about what a run computes."""


@dataclass(frozen=True)
class Data:
    """Where the samples of a run are. validation: data, or the share of train that is held out."""

    train: str
    validation: str | float
    test: str | None = None


def finetune(
    source: Checkpoint | MomosFile,
    data: Data,
    settings: FinetuneSettings,
    directory: Path,
    *,
    compression: Settings | None = None,
    teacher: Checkpoint | None = None,
    resume: bool = False,
    tell: Tell = lambda *told: None,
) -> FinetuneReport:
    """Train a network under the mosaic constraint and write it to ``directory``.

    source: a dense checkpoint, which is compressed first with ``compression`` on samples of the training set and then
    serves as the teacher; or a compressed file. teacher: the original network of a file. resume: go on with the run
    that is in the directory, if one is. Raises MomosError where anything does not fit; what was kept stays.
    """
    settings = settings.resolved()
    settings = replace(settings, device=resolve_device(settings.device))
    return _Run(source, data, settings, directory, compression or Settings(), teacher, tell).run(resume=resume)


class _Run:
    def __init__(
        self,
        source: Checkpoint | MomosFile,
        data: Data,
        settings: FinetuneSettings,
        directory: Path,
        compression: Settings,
        teacher: Checkpoint | None,
        tell: Tell,
    ) -> None:
        self.processes = Processes(str(settings.device))
        quiet: Tell = lambda *told: None  # noqa: E731
        self.settings, self.directory, self.tell = settings, directory, tell if self.processes.main else quiet
        self.device, self.data = self.processes.device, data
        self.source = source
        self.paper = settings.mode == "paper"
        if isinstance(source, MomosFile) and self.paper:
            raise MomosError("--mode paper trains dense weights; name the network itself, not a compressed file")
        original = teacher if isinstance(source, MomosFile) else source
        self.dense = original
        self.teacher = None if original is None else model_of(original, device=self.device)
        self.loss = chosen_loss(settings, teacher=self.teacher is not None)
        like = self.teacher if self.teacher is not None else load_model(self._file().path)
        # A tokenizer may lie beside a compressed file as beside a dense one.
        self.kind = kind_of(like, self.device, str(self._file().path) if original is None else original.source)
        self.splits = open_splits(
            self.kind, data.train, data.validation, data.test, seed=settings.seed, labels=self.loss != "distil"
        )
        self.compression = replace(
            compression, bdm=False, device=settings.device, seed=settings.seed,
            protocol="paper" if self.paper else compression.protocol,
        )  # fmt: skip
        self.asked = dataclasses.asdict(self.compression)
        self.topology: dict[str, Any] | None = None

    def _file(self) -> MomosFile:
        assert isinstance(self.source, MomosFile)
        return self.source

    def run(self, *, resume: bool) -> FinetuneReport:
        began = time.perf_counter()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MomosError(
                f"{str(self.directory)!r} cannot be the run's directory ({one_line(error, 120)}); choose another "
                "with -o"
            ) from error
        record = read_record(self.directory)
        if record is not None and not resume:
            raise MomosError(
                f"{str(self.directory)!r} holds a run already; go on with --resume, or choose another with -o"
            )
        self.processes.wait()  # all have seen what is there before the first writes
        if self.paper:
            trainer, export = self._paper()
        else:
            if self.processes.main:
                self._start(again=record is not None)
            self.processes.wait()
            trainer, export = self._codebook(self._start(again=True))
        if record is not None and record["identity"] != trainer.identity:
            raise MomosError(
                f"{str(self.directory)!r} holds another run: its network, data or settings differ; repeat that run's "
                "own command, or choose another directory with -o"
            )
        if record is not None and (told := self._finished(record)) is not None:
            return told
        described = self._described(trainer.identity)
        if self.processes.main:
            write_record(self.directory, {**described, "finished": False})
        before = self._measured(trainer)
        resumed = resume and trainer.resume()
        trainer.run()
        if self.processes.main:
            export({"epochs": self.settings.epochs, "best_epoch": trainer.best_epoch, "loss": self.loss})
        self.processes.wait()
        report = self._report(trainer, before, resumed, time.perf_counter() - began)
        if self.processes.main:
            write_record(self.directory, {**described, "finished": True, "result": report.to_json()})
        return report

    # What is trained

    def _start(self, *, again: bool) -> MomosFile:
        """The compressed file that the run begins with."""
        if isinstance(self.source, MomosFile):
            return self.source
        path = self.directory / START
        if not (again and path.is_file()):
            samples = None if self.compression.calibrate else self.splits.train
            compress_start(self.source, self.compression, path, self.kind, samples, self.tell)
        try:
            return MomosFile(path)
        except MomosError as error:
            raise MomosError(f"{error}; remove it, and --resume makes it anew") from error

    def _codebook(self, file: MomosFile) -> tuple[Trainer, Callable[[dict[str, Any]], None]]:
        settings = self.settings
        network = parametrise(load_model(file.path, device=self.device), file)
        if self.teacher is not None:
            check_alike(self.teacher, network.model)
        network.model.requires_grad_(False)
        vectors = list(network.vectors().values())
        codes = [codes for codes in dict.fromkeys(network.codes.values()) if len(codes)]
        groups: list[dict[str, Any]] = [
            {"params": [network.codebook.motifs], "lr": settings.learning_rate},
            {"params": vectors, "lr": settings.norm_learning_rate},
            {"params": codes, "lr": settings.scale_learning_rate},
        ]
        groups = [group for group in groups if group["params"]]
        for group in groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        task = objective(network.model, self.teacher, settings, self.loss, self.device)
        trainer = self._trainer(task, network.model, groups, self._identity(file.path))
        state = network.model.state_dict()
        beside = [name for name in network.vectors() if name in state]
        trainer.after_epoch = lambda epoch: self._complexity(
            [*map(network.weight, file.recipe.tensors), *(state[name] for name in beside)]
        )

        def export(told: dict[str, Any]) -> None:
            dense = self.dense
            known = {} if dense is None else {info.name: info.shape for info in dense.tensors.infos}
            if dense is not None and all(known.get(name) == t.shape for name, t in file.recipe.tensors.items()):
                reference, of = dense.read, "original"
            else:
                reference, of = file.get, "file before"
            write_tuned(network, self.directory / RESULT, reference, {**told, "distortion_of": of})

        return trainer, export

    def _paper(self) -> tuple[Trainer, Callable[[dict[str, Any]], None]]:
        checkpoint, settings = self.source, self.settings
        assert isinstance(checkpoint, Checkpoint)
        model = model_of(checkpoint, device=self.device).requires_grad_(True)
        groups = [{"params": list(model.parameters()), "lr": settings.learning_rate}]
        task = objective(model, self.teacher, settings, self.loss, self.device)
        trainer = self._trainer(task, model, groups, self._identity(*checkpoint.files))
        if settings.topology is not None:
            s = self.compression.s
            self.topology = fix(model, trainer.optimiser, settings.topology, settings.density, s, settings.seed)

        network = FreeNetwork(checkpoint, model, settings.q)

        def after(epoch: int) -> dict[str, float]:
            figures = dict(network.project(self.compression, epoch))
            now = network.computed()
            return figures | self._complexity(map(now.read, measured_names(now)))

        trainer.after_epoch = after

        def export(told: dict[str, Any]) -> None:
            now = network.computed()
            fitted = Fitted(mosaic_of(now, self.compression), {}, {}, "none: the weights alone", ())
            compress(now, self.compression, self.directory / RESULT, fitted=fitted)

        return trainer, export

    def _trainer(self, task: "TrainingTask", model: nn.Module, groups: list[dict[str, Any]], identity: str) -> Trainer:
        from timm.optim import create_optimizer_v2

        settings = self.settings
        extra = {"betas": settings.betas} if "adam" in str(settings.optimiser) else {}
        try:
            optimiser = create_optimizer_v2(
                groups,
                opt=str(settings.optimiser),
                lr=settings.learning_rate,
                weight_decay=settings.weight_decay,
                **extra,
            )
        except Exception as error:  # timm's optimisers raise what they like where they, or a package, are not there
            raise MomosError(
                f"--optimiser {settings.optimiser!r} cannot be had ({one_line(error, 120)}); name one of timm's, such "
                "as adam"
            ) from error
        # Against a teacher, how far outputs are from its own says more than how many of few images come out right.
        criterion: Literal["loss", "top1"] = "loss" if self.loss == "distil" else "top1"
        return Trainer(
            task=task,
            model=model,
            kind=self.kind,
            splits=self.splits,
            settings=settings,
            optimiser=optimiser,
            criterion=criterion,
            identity=identity,
            directory=self.directory,
            processes=self.processes,
            tell=self.tell,
        )

    def _complexity(self, weights: Iterable[torch.Tensor]) -> dict[str, float]:
        """The paper's measure after an epoch, where it is asked for: BDM of the signs, and their entropy, in bits."""
        if not self.settings.complexity:
            return {}
        counts = sign_histogram(weights)
        bdm, entropy = bdm_and_entropy(counts, string_complexities())
        return {"bdm": bdm, "sign_entropy": entropy}

    # What is told

    def _identity(self, *files: Path) -> str:
        """What tells this run from any other: a digest of its network, its data and its settings."""
        settings = dataclasses.asdict(self.settings)
        parts = {
            "settings": {name: value for name, value in settings.items() if name not in INCIDENTAL},
            "files": [file["sha256"] for file in describe_files(files)],
            "original": None if self.dense is None else _named(self.dense),
            "data": self._data(),
            "loss": self.loss,
            "compression": None if isinstance(self.source, MomosFile) else self.asked,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    def _data(self) -> dict[str, Any]:
        sets = vars(self.splits).items()
        return {name: described(samples) for name, samples in sets if samples is not None}

    def _described(self, identity: str) -> dict[str, Any]:
        source = self.source
        return {
            "identity": identity,
            "source": source.source if isinstance(source, Checkpoint) else str(source.path),
            "teacher": None if self.dense is None else self.dense.source,
            "settings": dataclasses.asdict(self.settings),
            "compression": None if isinstance(source, MomosFile) else self.asked,
            "processes": self.processes.count,
            "topology": self.topology,
            "data": self._data(),
            "torch": torch.__version__,
        }

    def _measured(self, trainer: Trainer) -> dict[str, Figures]:
        """Validation and test figures of the teacher and of the network before training."""
        found: dict[str, Figures] = {"validation": {}, "test": {}}
        for part, samples in self._measured_on():
            if not self.paper:
                found[part]["before"] = trainer.measure(samples)
            if samples.labelled and self.teacher is not None:
                found[part]["teacher"] = self._accuracy(self.teacher, samples)
        return found

    def _measured_on(self) -> list[tuple[str, Samples]]:
        parts = (("validation", self.splits.validation), ("test", self.splits.test))
        return [(part, samples) for part, samples in parts if samples is not None]

    def _finished(self, record: Mapping[str, Any]) -> FinetuneReport | None:
        """What a run that has ended told, if its file is as it was left."""
        path = self.directory / RESULT
        if not record.get("finished") or not path.is_file():
            return None
        try:
            report = FinetuneReport(**record["result"])
            load_file(path)  # verifies every tensor
        except (KeyError, TypeError, MomosError):
            return None  # it is made anew
        return replace(report, directory=str(self.directory), output=str(path), resumed=True)

    def _accuracy(self, model: nn.Module, samples: Samples) -> dict[str, float]:
        return accuracy(model, self.kind, samples, self.settings.batch_size, self.device)

    def _report(self, trainer: Trainer, figures: dict[str, Figures], resumed: bool, seconds: float) -> FinetuneReport:
        path = self.directory / RESULT
        result = load_model(path, device=self.device)
        for part, samples in self._measured_on():
            if samples.labelled:
                figures[part]["after"] = self._accuracy(result, samples)
        recipe = MomosFile(path).recipe
        dense = None if self.dense is None else self.dense.source_bytes
        start = None if self.paper else (
            self._file().path if isinstance(self.source, MomosFile) else self.directory / START
        ).stat().st_size  # fmt: skip
        return FinetuneReport(
            directory=str(self.directory),
            output=str(path),
            mode=self.settings.mode,
            loss=self.loss,
            epochs=self.settings.epochs,
            best_epoch=trainer.best_epoch,
            k=recipe.k,
            s=recipe.s,
            file_bytes=path.stat().st_size,
            file_bytes_before=start,
            ratio=None if dense is None else dense / path.stat().st_size,
            validation=figures["validation"],
            test=figures["test"],
            data=self._data(),
            processes=self.processes.count,
            resumed=resumed,
            seconds=seconds,
        )


def _named(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a network is, wherever it lies: its architecture and its files."""
    architecture = checkpoint.architecture
    return {
        "architecture": None if architecture is None else architecture.to_json(),
        "files": [file["sha256"] for file in describe_files(checkpoint.files)],
    }
