"""Decides how many samples, passes, rounds and epochs a fit takes, from its time limit and a trial on this machine."""

from dataclasses import dataclass

from momos_compress.calibration.budget import (
    GRADIENT_BATCH,
    SHARES,
    SHARES_OF_LEVELS,
    options_of,
    seconds_allowed,
    seconds_for_inputs,
    share_out,
    steps_of,
)
from momos_compress.calibration.channels import batch_norms
from momos_compress.calibration.fit_trial import correction_seconds, level_seconds, pass_seconds, solution_seconds
from momos_compress.calibration.job import Job
from momos_compress.calibration.survey import Survey
from momos_compress.calibration.trial import Pace, network_seconds
from momos_compress.common.units import duration
from momos_compress.planning.steps import Steps
from momos_compress.settings import SYNTHETIC

TRIED_TEXTS = 16
"""Samples of lengths of their own that a trial runs on."""


@dataclass(frozen=True)
class Decision:
    """What a fit will do.

    Attributes:
        steps: Its numbers.
        limit: Seconds that it may take.
        seconds: What they are expected to take; numbers that were fixed by the user are not in it.
        least: Whether no step could do less.
    """

    steps: Steps
    limit: float
    seconds: float
    least: bool

    def warning(self, taken: float) -> str | None:
        """What to say of a limit that was too short, from the seconds that the fit has taken."""
        if not self.least or taken <= self.limit:
            return None
        passes = f"{self.steps.passes} pass{'' if self.steps.passes == 1 else 'es'}"
        return (
            f"`time_limit` {duration(self.limit)} is shorter than the least that this network takes: it had "
            f"{self.steps.moments:,} samples and {passes}, and took {duration(taken)}"
        )


def decide(job: Job, facts: Survey) -> Decision:
    """Try the network and the search on this machine, and share out the time limit.

    Raises:
        MomosError: The network fails on a batch.
    """
    job.tell("trial", 0, 0)
    return decided(job, facts, pace_of(job, facts))


def decided(job: Job, facts: Survey, pace: Pace) -> Decision:
    """Share out the time limit at a known pace."""
    settings, limit = job.settings, seconds_allowed(job.settings)
    if settings.calibrate == SYNTHETIC:
        limit -= seconds_for_inputs(settings)
    levels = settings.bits is not None
    # Batch norms are scales of rows, which levels gain by; layer norms in their place gave 1 % at a fifth of the time.
    tunes = not levels or bool(batch_norms(job.model))
    options = options_of(
        job.data.samples, pace, facts.sequence_samples if levels else facts.repair_samples, levels=levels, tunes=tunes
    )
    chosen = share_out(limit, options, SHARES_OF_LEVELS if levels else SHARES)
    return Decision(
        steps_of(chosen).fixed(settings.steps),
        limit,
        sum(option.seconds for option in chosen.values()),
        all(option == options[name][-1] for name, option in chosen.items()),
    )


def pace_of(job: Job, facts: Survey) -> Pace:
    """Seconds of a sample's forward pass and gradients, and of a pass over the mosaic."""
    trained = min(GRADIENT_BATCH, facts.batch, facts.trained_at_once)
    forward, gradient = network_seconds(
        job.model,
        facts.layers,
        list(job.data.batches(facts.batch, tried := _tried(job, facts.batch))),
        list(job.data.batches(trained, trained_on := _tried(job, trained))),
        device=job.device,
    )
    forward *= job.data.mean_length() / job.data.mean_length(tried)
    gradient *= job.data.mean_length() / job.data.mean_length(trained_on)
    values = {info.name: info.values for info in job.work.selection.chosen}
    shapes = []
    for layer in facts.layers:
        rows = layer.layout.rows or 1
        shapes.append((layer.groups, rows // layer.groups, values[layer.parameter] // rows))
    settings = job.settings
    if settings.bits is not None:
        return Pace(forward, gradient, level_seconds(shapes, device=job.device, seed=settings.seed))
    fit_pass = sum(
        each(shapes, k=job.work.k, s=settings.s, device=job.device, seed=settings.seed)
        for each in (pass_seconds, solution_seconds)
    )
    return Pace(forward, gradient, fit_pass, correction_seconds(shapes, device=job.device, seed=settings.seed))


def _tried(job: Job, batch: int) -> int:
    """Samples that a trial runs on: a batch, or more where their lengths differ."""
    return min(max(batch, TRIED_TEXTS) if job.data.lengths else batch, job.data.samples)
