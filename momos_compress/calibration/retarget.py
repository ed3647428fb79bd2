"""New targets for a layer whose inputs compression has changed."""

from collections.abc import Sequence

import torch
from torch import nn

from momos_compress.calibration.budget import CORRECTION, HELD_VALUES
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
        padded, _ = damped(shift.moments[layer.name], s)
        halves = [half[layer.name] for half in shift.shifts if layer.name in half]
        original = normalised(job.checkpoint.read(layer.name), layer.layout, layer.scales, groups[layer.name], s)
        layer.targets = corrected(original, padded, halves, CORRECTION)
        state.moments[layer.name] = padded


def corrected(
    targets: torch.Tensor, moments: torch.Tensor, halves: Sequence[torch.Tensor], length: float
) -> torch.Tensor:
    """Targets moved towards T + T E[(x - x') x'^T] E[x' x'^T]^-1, which gives T x out of x' with least error.

    What the two halves of the samples do not agree on is chance: along each principal direction of the inputs the step
    is as long as lowers the error most on samples that it was not taken from, by what each half says of the other's.

    Args:
        targets: T, (groups, rows, padded columns).
        moments: E[x' x'^T], damped, (groups, padded columns, padded columns).
        halves: E[(x - x') x'^T] in two parts that add up, each from its half of the samples, (groups, columns,
            columns); one part where there is no other.
        length: Share of the way that is gone.

    Returns:
        (groups, rows, padded columns); padding stays as it is.
    """
    width = halves[0].shape[2]
    sizes, directions = torch.linalg.eigh(moments[:, :width, :width])
    pulls = [targets[:, :, :width] @ (half @ directions) for half in halves]
    step = length * _trust(pulls) * torch.stack(pulls).sum(dim=0) / sizes[:, None]
    out = targets.clone()
    out[:, :, :width] += step @ directions.transpose(1, 2)
    return out


def _trust(pulls: Sequence[torch.Tensor]) -> torch.Tensor:
    """The length of the sum of both halves' steps at which errors are least, 0 to 1, in each direction: (columns,).

    Args:
        pulls: Of each half, (groups, rows, columns) along the directions; 1 everywhere where there is one half alone.
    """
    if len(pulls) < 2:
        return pulls[0].new_ones(pulls[0].shape[2])
    own = torch.stack([pull.square().sum(dim=(0, 1)) for pull in pulls]).sum(dim=0)
    other = 2 * (pulls[0] * pulls[1]).sum(dim=(0, 1))
    share = (other / own.clamp(min=1e-30)).clamp(0, 1)  # s / (s + n), signal and noise of a half
    return 2 * share / (1 + share)  # s / (s + n / 2), those of both together
