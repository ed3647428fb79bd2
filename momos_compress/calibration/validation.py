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
from momos_compress.networks.comparison import gives_classes
from momos_compress.networks.outputs import mean_loss

MOST_SAMPLES = 64
"""Samples kept for validation, where an eighth of all are as many."""
LEAST_SAMPLES = 4
"""Samples below which none are kept: they would not tell."""


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


def validation_loss(job: Job, facts: Survey, compressed: nn.Module, count: int) -> float:
    """How far a network's outputs are from the original's on the ``count`` samples behind those of the job."""
    start = job.data.samples
    behind = dataclasses.replace(job.data, samples=start + count)
    batches = behind.batches(facts.batch, start=start)
    scores = gives_classes(job.model) or None
    return mean_loss(job.model, compressed, batches, device=job.device, scores=scores)
