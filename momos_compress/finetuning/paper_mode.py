"""Training by the paper's scheme (arXiv 2602.14896): free weights, projected onto motifs after each epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.compression.fit import fitted_to_weights
from momos_compress.compression.pipeline import compress
from momos_compress.errors import MomosError
from momos_compress.finetuning.mode import sign_complexity
from momos_compress.finetuning.paper import FreeNetwork, free_network, mosaic_of
from momos_compress.finetuning.quantised import fake_quantise
from momos_compress.finetuning.settings import FULL
from momos_compress.finetuning.setup import TrainingSetup
from momos_compress.finetuning.topologies import fix
from momos_compress.networks.load import model_of
from momos_compress.settings import DEFAULT_S
from momos_compress.sources.baseline import measured_names
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class PaperMode:
    """A dense network that trains freely between projections (a ``TrainingMode``)."""

    setup: TrainingSetup
    network: FreeNetwork
    groups: list[dict[str, Any]]
    files: tuple[Path, ...]
    start: None = None

    @property
    def model(self) -> nn.Module:
        """The network that trains."""
        return self.network.model

    def attach(self, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Keep the blocks outside a topology at zero, and round weights in every pass, where that is asked for."""
        settings, topology = self.setup.settings, None
        if settings.topology is not None:
            s = self.setup.compression.s or DEFAULT_S
            topology = fix(self.model, optimiser, settings.topology, settings.density, s, settings.seed)
        # After the topology, which names weights as they are called before they are parametrised.
        if settings.q < FULL:
            fake_quantise(self.model, settings.q)
        return topology

    def after_epoch(self, epoch: int) -> Mapping[str, float]:
        """Project the weights onto motifs drawn anew, and measure them where that is asked for."""
        figures = dict(self.network.project(self.setup.compression, epoch))
        if self.setup.settings.complexity:
            now = self.network.computed()
            figures |= sign_complexity(map(now.read, measured_names(now)))
        return figures

    def export(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the projected weights; the file tells of the protocol alone."""
        now, settings = self.network.computed(), self.setup.compression
        compress(now, settings, path, fitted=fitted_to_weights(mosaic_of(now, settings)))


def open_paper(setup: TrainingSetup, *, resumed: bool) -> PaperMode:
    """Open the dense network that trains; whether the run goes on makes no difference here."""
    checkpoint = setup.source
    if not isinstance(checkpoint, Checkpoint):
        raise MomosError("`mode='paper'` trains dense weights; name the network itself, not a compressed file")
    model = model_of(checkpoint, device=setup.processes.device).requires_grad_(True)
    groups = [{"params": list(model.parameters()), "lr": setup.settings.learning_rate}]
    return PaperMode(setup, free_network(checkpoint, model), groups, checkpoint.files)
