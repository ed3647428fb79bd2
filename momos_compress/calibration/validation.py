"""Whether a step of a fit helps, on calibration samples that the fit itself does not see.

With few samples in wide layers a step can lower the error on what it was fitted to and raise it elsewhere.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import nn

from momos_compress.calibration.job import Job
from momos_compress.calibration.state import FitState
from momos_compress.calibration.survey import Survey
from momos_compress.data.batches import Inputs, split, to_device
from momos_compress.networks.forward import forward
from momos_compress.networks.outputs import mean_loss

MOST_SAMPLES = 64
"""Samples kept for validation, where an eighth of all are as many."""
LEAST_SAMPLES = 4
"""Samples below which none are kept: they would not tell."""


@dataclass(frozen=True)
class Validation:
    """Samples that the fit does not see, and what the original network makes of them.

    Attributes:
        batches: The inputs, on the CPU.
        targets: The original's outputs, on the CPU.
        device: Where networks run.
    """

    batches: list[Inputs]
    targets: list[torch.Tensor]
    device: str

    def loss(self, network: nn.Module) -> float:
        """How far a network's outputs are from the original's: the mean over samples."""
        return mean_loss(network, self.batches, self.targets, device=self.device)


@dataclass(frozen=True)
class Kept:
    """The mosaic that has done best so far.

    Attributes:
        loss: On the validation samples.
        indices: Of each layer.
        codebook: The motifs.
    """

    loss: float
    indices: list[torch.Tensor]
    codebook: torch.Tensor

    @classmethod
    def of(cls, state: FitState, loss: float) -> "Kept":
        """What a state holds now."""
        return cls(loss, [layer.indices for layer in state.layers], state.codebook)

    def restore(self, state: FitState) -> None:
        """Give a state this mosaic again."""
        state.codebook = self.codebook
        for layer, indices in zip(state.layers, self.indices, strict=True):
            layer.indices = indices


def set_apart(job: Job) -> tuple[Job, int]:
    """The job on fewer samples, and how many of its last ones are left for validation; 0 where there are too few."""
    count = min(MOST_SAMPLES, job.data.samples // 8)
    if count < LEAST_SAMPLES:
        return job, 0
    data = dataclasses.replace(job.data, samples=job.data.samples - count)
    return dataclasses.replace(job, data=data), count


def validation_of(job: Job, facts: Survey, count: int) -> Validation:
    """Run the original on the ``count`` samples behind those of the job."""
    start = job.data.samples
    batches = list(split(job.data.read(start, start + count), facts.batch))
    with torch.inference_mode():
        targets = [forward(job.model, to_device(batch, job.device)).cpu() for batch in batches]
    return Validation(batches, targets, job.device)
