"""What the two ways of training have in common: the codebook of a file, or dense weights by the paper's scheme."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from momos_compress.finetuning.setup import TrainingSetup
from momos_compress.measures.bdm import bdm_and_entropy
from momos_compress.measures.bits import sign_histogram
from momos_compress.measures.ctm import string_complexities


class TrainingMode(Protocol):
    """What a run trains, and how that becomes a file."""

    @property
    def model(self) -> nn.Module:
        """The network that trains."""
        ...

    @property
    def groups(self) -> list[dict[str, Any]]:
        """Its parameters as an optimiser of torch takes them, each group with its learning rate ("lr")."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the run begins with, which are part of its identity."""
        ...

    @property
    def start(self) -> Path | None:
        """The compressed file that it begins with; None where dense weights train."""
        ...

    def attach(self, optimiser: torch.optim.Optimizer) -> dict[str, Any] | None:
        """Constrain the weights from the first step on; returns the record of a topology, where one is kept."""
        ...

    def after_epoch(self, epoch: int) -> Mapping[str, float]:
        """Do what follows an epoch (counted from 0), and return figures for the log."""
        ...

    def export(self, path: Path, record: Mapping[str, Any]) -> None:
        """Write the network as it is to a compact file. record: what the file tells of the training."""
        ...


class OpenMode(Protocol):
    """How a mode is opened, an entry of the table of modes."""

    def __call__(self, setup: TrainingSetup, *, resumed: bool) -> TrainingMode:
        """Open what trains. resumed: whether a run is in the directory already."""
        ...


def sign_complexity(weights: Iterable[torch.Tensor]) -> dict[str, float]:
    """Measure BDM and entropy of the weights' signs, in bits (``sign_bdm``)."""
    bdm, entropy = bdm_and_entropy(sign_histogram(weights), string_complexities())
    return {"bdm": bdm, "sign_entropy": entropy}
