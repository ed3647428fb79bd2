"""What a compression will take, from trials on this machine: nothing is fitted or written."""

import dataclasses
from dataclasses import dataclass

from momos_compress.common.progress import Progress, silent
from momos_compress.common.stages import Stages, peak_memory_bytes
from momos_compress.compression.fit import open_network
from momos_compress.fitting.methods import HESSIAN
from momos_compress.planning.estimate import CostEstimate, estimate
from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Expected:
    """Rough figures of a run.

    Attributes:
        work: Its plan; for the weights alone, with a warning, where no inputs can be made up for the plan given.
        cost: Sizes, time and memory.
        steps: Samples, passes, rounds and epochs of a calibrated fit, as ``Settings.steps`` takes them; else None.
    """

    work: Plan
    cost: CostEstimate
    steps: str | None


def expect(checkpoint: Checkpoint, work: Plan, *, progress: Progress = silent) -> Expected:
    """Estimate a run; where motifs are calibrated the network and its inputs are opened for a trial.

    Raises:
        MomosError: The network or its inputs cannot be had, or it fails on them.
    """
    cost = estimate(checkpoint, work)
    if work.settings.method != HESSIAN:
        return Expected(work, cost, None)
    from momos_compress.calibration.forecast import forecast
    from momos_compress.calibration.job import Job

    stages = Stages()
    work, network = open_network(checkpoint, work, trial=True, stages=stages, progress=progress)
    if network is None:
        return Expected(work, estimate(checkpoint, work), None)
    opened = peak_memory_bytes()
    found = forecast(Job(checkpoint, work, network.model, network.data, None, progress))
    calibrated = dataclasses.replace(
        cost,
        seconds=cost.seconds + stages.seconds + network.data.left_out_seconds + found.decision.seconds,
        peak_memory_bytes=max(peak_memory_bytes(), opened + found.held_bytes),
    )
    return Expected(work, calibrated, str(found.decision.steps))
