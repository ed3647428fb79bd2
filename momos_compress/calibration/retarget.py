"""New targets for a layer whose inputs compression has changed."""

from torch import nn

from momos_compress.calibration.budget import CORRECTION, HELD_VALUES
from momos_compress.calibration.correction import corrected
from momos_compress.calibration.damping import damped
from momos_compress.calibration.job import Job
from momos_compress.calibration.moments import collect_shift
from momos_compress.calibration.sampling import PAIRED_VECTORS, Sampling
from momos_compress.calibration.state import FitState, normalised
from momos_compress.calibration.survey import Survey
from momos_compress.planning.steps import Steps


def retarget(job: Job, facts: Survey, steps: Steps, state: FitState, compressed: nn.Module) -> None:
    """Aim each layer of blocks at what the original computes of its own inputs, out of the inputs that it has now.

    Targets move by ``CORRECTION`` of the way to the least-squares solution; moments become those of the new inputs.

    Args:
        job: The fit.
        facts: Of its network.
        steps: How many samples are compared.
        state: Changed in place.
        compressed: The network as the state's mosaic decodes.
    """
    samples, s = min(steps.compared, job.data.samples), job.settings.s
    widths = sum(layer.shape[0] * layer.shape[2] for layer in state.layers if layer.correlated)
    batch = max(1, min(facts.batch, HELD_VALUES * samples // (PAIRED_VECTORS * max(widths, 1))))
    mosaic = {layer.name for layer in state.layers}
    sampling = Sampling(
        job.data.batches(batch, samples),
        samples,
        device=job.device,
        seed=job.settings.seed,
        vectors=PAIRED_VECTORS,
        centred=facts.centred,
        directory=job.spool_directory,
        progress=lambda done: job.tell("compare", done, samples),
    )
    chosen = [layer for layer in facts.layers if layer.parameter in mosaic]
    shift = collect_shift(job.model, compressed, chosen, sampling)
    groups = {layer.parameter: layer.groups for layer in facts.layers}
    for layer in state.layers:
        if layer.name not in shift.moments:
            continue
        padded, _ = damped(shift.moments[layer.name], s)
        halves = [half[layer.name] for half in shift.shifts if layer.name in half]
        original = normalised(job.checkpoint.read(layer.name), layer.layout, layer.scales, groups[layer.name], s)
        state.targets[layer.name] = corrected(original, padded, halves, CORRECTION)
        state.moments[layer.name] = padded
