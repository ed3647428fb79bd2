"""New targets for a layer whose inputs compression has changed."""

import torch
from torch import nn

from momos_compress.calibration.budget import CORRECTION, HELD_VALUES
from momos_compress.calibration.damping import damped, shrunk
from momos_compress.calibration.job import Job
from momos_compress.calibration.moments import collect_shift
from momos_compress.calibration.sampling import PAIRED_VECTORS, Sampling
from momos_compress.calibration.state import FitState, normalised
from momos_compress.calibration.survey import Survey
from momos_compress.planning.steps import Steps


def retarget(job: Job, facts: Survey, steps: Steps, state: FitState, compressed: nn.Module) -> None:
    """Aim each layer at what the original computes of its own inputs, out of the inputs that it has now.

    Targets move by ``CORRECTION`` of the way to the least-squares solution; moments become those of the new inputs.

    Args:
        job: The fit.
        facts: Of its network.
        steps: How many samples are compared.
        state: Changed in place.
        compressed: The network as the state's mosaic decodes.
    """
    samples, s = min(steps.compared, job.data.samples), job.settings.s
    widths = sum(layer.targets.shape[0] * layer.targets.shape[2] for layer in state.layers if layer.correlated)
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
        moments = shift.moments[layer.name]
        if state.levels is not None:
            moments = shrunk(moments, shift.worth(layer.name))
        padded, _ = damped(moments, s)
        padded, moved = layer.scaled(padded), layer.scaled(shift.shifts[layer.name])
        weight = job.checkpoint.read(layer.name)
        original = normalised(weight, layer.layout, layer.scales, groups[layer.name], s, layer.columns)
        layer.targets = corrected(original, padded, moved)
        state.moments[layer.name] = padded


def corrected(targets: torch.Tensor, moments: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Targets moved towards T + T E[(x - x') x'^T] E[x' x'^T]^-1, which gives T x out of x' with least error.

    Args:
        targets: T, (groups, rows, padded columns).
        moments: E[x' x'^T], damped, (groups, padded columns, padded columns).
        shift: E[(x - x') x'^T], (groups, columns, columns).

    Returns:
        (groups, rows, padded columns); padding stays as it is.
    """
    width = shift.shape[2]
    pull = targets[:, :, :width] @ shift
    factor = torch.linalg.cholesky(moments[:, :width, :width].double())
    step = torch.cholesky_solve(pull.transpose(1, 2).double(), factor).transpose(1, 2)
    out = targets.clone()
    out[:, :, :width] += CORRECTION * step.float()
    return out
