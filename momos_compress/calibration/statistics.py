"""What calibration measures of the original network: second moments of inputs, and importance of outputs."""

from dataclasses import dataclass

import torch

from momos_compress.calibration.budget import GRADIENT_BATCH
from momos_compress.calibration.gradients import collect_gradients
from momos_compress.calibration.job import Job
from momos_compress.calibration.moments import InputMoments, collect_moments
from momos_compress.calibration.sampling import Sampling
from momos_compress.calibration.survey import Survey
from momos_compress.networks.comparison import gives_classes
from momos_compress.planning.steps import Steps


@dataclass(frozen=True)
class Statistics:
    """By the weight's name.

    Attributes:
        inputs: Second moments of what reaches its layer, and their energies.
        gradients: Squared gradients (rows,) a sample; lacking for what is no parameter of the network.
    """

    inputs: InputMoments
    gradients: dict[str, torch.Tensor]


def measure_inputs(job: Job, facts: Survey, steps: Steps) -> InputMoments:
    """Second moments of all layers' inputs."""
    samples = min(steps.moments, job.data.samples)
    sampling = Sampling(
        job.data.batches(facts.batch, samples),
        samples,
        device=job.device,
        seed=job.settings.seed,
        centred=facts.centred,
        directory=job.spool_directory,
        progress=lambda done: job.tell("second moments", done, samples),
    )
    return collect_moments(job.model, facts.layers, sampling)


def measure_gradients(job: Job, facts: Survey, steps: Steps) -> dict[str, torch.Tensor]:
    """Squared gradients of all weights."""
    samples = min(steps.gradients, job.data.samples)
    return collect_gradients(
        job.model,
        facts.layers,
        job.data.batches(min(GRADIENT_BATCH, facts.batch, facts.trained_at_once), samples),
        device=job.device,
        seed=job.settings.seed,
        classes=job.settings.bits is not None and gives_classes(job.model),
        progress=lambda done: job.tell("gradients", done, samples),
    )
