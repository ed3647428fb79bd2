"""Training under the constraint: motifs, scales, norms and biases train, and the mosaic stays."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.container.reader import MomosFile
from momos_compress.errors import MomosError
from momos_compress.finetuning.export import write_tuned
from momos_compress.finetuning.kinds import check_alike
from momos_compress.finetuning.mode import sign_complexity
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.setup import TrainingSetup
from momos_compress.finetuning.start import compress_start
from momos_compress.modules.parametrised import MosaicNetwork, parametrise
from momos_compress.networks.load import load_model

START = "start.momos.safetensors"
"""Name of the file that a run makes of a dense checkpoint and begins with."""


@dataclass(frozen=True)
class CodebookMode:
    """A compressed file's network, of which everything but the mosaic trains (a ``TrainingMode``)."""

    setup: TrainingSetup
    network: MosaicNetwork
    groups: list[dict[str, Any]]

    @property
    def model(self) -> nn.Module:
        """The network that trains."""
        return self.network.model

    @property
    def start(self) -> Path:
        """The file that the run begins with."""
        return self.network.file.path

    @property
    def files(self) -> tuple[Path, ...]:
        """The same file, which is the run's identity."""
        return (self.start,)

    def attach(self, optimiser: torch.optim.Optimizer) -> None:
        """Do nothing: no topology is kept."""

    def after_epoch(self, epoch: int) -> Mapping[str, float]:
        """Measure the weights where that is asked for."""
        if not self.setup.settings.complexity:
            return {}
        state = self.model.state_dict()
        beside = [state[name] for name in self.network.vectors() if name in state]
        return sign_complexity([*map(self.network.weight, self.network.file.recipe.tensors), *beside])

    def export(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write a file like the one that the run began with."""
        file, original = self.network.file, self.setup.original
        known = {} if original is None else {info.name: info.shape for info in original.tensors.infos}
        if original is not None and all(known.get(name) == t.shape for name, t in file.recipe.tensors.items()):
            reference, of = original.read, "original"
        else:
            reference, of = file.get, "file before"
        write_tuned(self.network, path, reference, {**record, "distortion_of": of})


def open_codebook(setup: TrainingSetup, *, resumed: bool) -> CodebookMode:
    """Open the file that the run begins with, which is made first where the source is dense.

    Args:
        setup: What the run works with.
        resumed: Whether a run is in the directory already: the file that it began with is taken up.

    Raises:
        MomosError: if the file is damaged, or its network and the teacher do not go together.
    """
    if setup.processes.main:
        _start_file(setup, again=resumed)
    setup.processes.wait()
    file = _start_file(setup, again=True)
    network = parametrise(load_model(file.path, device=setup.processes.device), file)
    if setup.teacher is not None:
        check_alike(setup.teacher, network.model)
    network.model.requires_grad_(False)
    groups = _groups(network, setup.settings)
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    return CodebookMode(setup, network, groups)


def _start_file(setup: TrainingSetup, *, again: bool) -> MomosFile:
    if isinstance(setup.source, MomosFile):
        return setup.source
    path = setup.directory / START
    if not (again and path.is_file()):
        samples = None if setup.compression.calibrate else setup.splits.train
        compress_start(setup.source, setup.compression, path, setup.kind, samples, setup.progress)
    try:
        return MomosFile(path)
    except MomosError as error:
        raise MomosError(f"{error}; remove it, and `resume` makes it anew") from error


def _groups(network: MosaicNetwork, settings: FinetuneSettings) -> list[dict[str, Any]]:
    codes = [codes for codes in dict.fromkeys(network.codes.values()) if len(codes)]
    groups: list[dict[str, Any]] = [
        {"params": [network.codebook.motifs], "lr": settings.learning_rate},
        {"params": list(network.vectors().values()), "lr": settings.norm_learning_rate},
        {"params": codes, "lr": settings.scale_learning_rate},
    ]
    return [group for group in groups if group["params"]]
