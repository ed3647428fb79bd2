"""Where a fit starts: normalised weights with the importance of their errors, and the first motifs."""

from dataclasses import dataclass

import torch

from momos_compress.calibration.damping import DAMPING, damped, looked_up, shrunk
from momos_compress.calibration.importance import block_costs, drawn_blocks, row_weights
from momos_compress.calibration.job import Job
from momos_compress.calibration.search import Rate
from momos_compress.calibration.state import FitState, LayerState, normalised
from momos_compress.calibration.statistics import Statistics
from momos_compress.calibration.store import MatrixStore
from momos_compress.calibration.survey import Survey
from momos_compress.fitting.methods import default_method
from momos_compress.fitting.motifs import fit_motifs
from momos_compress.mosaic.scales import encode_scales

MOTIF_OVERHEAD_BITS = 4
"""Bits that a motif takes in the file beside its values, about: its count of uses, from which indices are coded."""


@dataclass(frozen=True)
class Targets:
    """The weights to fit.

    Attributes:
        layers: One for each weight, without a mosaic yet.
        matrices: The normalised weights, by name.
        damping: Share of their mean that was added to second moments, of layers that took more than usual, by name.
    """

    layers: tuple[LayerState, ...]
    matrices: MatrixStore
    damping: dict[str, float]


def targets_of(job: Job, facts: Survey, statistics: Statistics) -> Targets:
    """Normalise all weights, and weigh their errors.

    Args:
        job: The fit.
        facts: Of its network.
        statistics: Of the same layers; their moments are damped in place.
    """
    states, damping, s = [], {}, job.settings.s
    matrices = MatrixStore(job.spool_directory)
    moments = statistics.inputs.moments
    for layer in facts.layers:
        weight = job.checkpoint.read(layer.parameter)
        matrix = layer.layout.matrix(weight.float())
        scales = encode_scales(matrix.square().mean(dim=1).sqrt())
        targets = normalised(weight, layer.layout, scales, layer.groups, s)
        matrices[layer.parameter] = targets
        correlated = layer.parameter in moments
        if correlated:
            if job.settings.bits is not None:
                moments[layer.parameter] = shrunk(moments[layer.parameter], statistics.inputs.worth(layer.parameter))
            if layer.table:
                moments[layer.parameter] = looked_up(moments[layer.parameter])
            moments[layer.parameter], share = damped(moments[layer.parameter], s)
            if share > DAMPING:
                damping[layer.parameter] = share
        shape, even = (len(targets), targets.shape[1], targets.shape[2]), torch.ones(targets.shape[:2])
        states.append(LayerState(layer.parameter, layer.layout, scales, shape, even, correlated))
    for state, weights in zip(states, row_weights(states, facts.layers, statistics), strict=True):
        state.weights = weights
    return Targets(tuple(states), matrices, damping)


def first_state(job: Job, targets: Targets, statistics: Statistics) -> FitState:
    """The state before the first pass: motifs by k-means over blocks that are drawn, half of them by their cost."""
    settings, s, k = job.settings, job.settings.s, job.work.k
    if settings.bits is not None:
        return _state_of_levels(job, targets, statistics)
    blocks = torch.cat([targets.matrices[layer.name].reshape(-1, s) for layer in targets.layers])
    costs = torch.cat([block_costs(layer, statistics, s) for layer in targets.layers])
    blocks = blocks[drawn_blocks(costs, max(job.work.sampled_blocks, k), settings.seed)]
    job.tell("first motifs", 0, 0)
    motifs = fit_motifs(
        blocks.numpy(),
        k,
        method=default_method(),
        seed=settings.seed,
        zero_motif=settings.zero_motif,
    )
    value_bits = 8 if settings.codebook_dtype in (None, "int8") else 16
    return FitState(
        list(targets.layers),
        targets.matrices,
        statistics.inputs.moments,
        torch.from_numpy(motifs).to(job.device),
        Rate.uniform(len(motifs), value_bits * s + MOTIF_OVERHEAD_BITS),
        rate_weight=settings.rate_weight if settings.coding != "packed" else 0.0,
        zero_motif=settings.zero_motif,
        device=job.device,
    )


def _state_of_levels(job: Job, targets: Targets, statistics: Statistics) -> FitState:
    """The state before the first levels, which choose steps and codebook."""
    return FitState(
        list(targets.layers),
        targets.matrices,
        statistics.inputs.moments,
        torch.zeros(1, 1, device=job.device),
        Rate.uniform(1, 0.0),
        rate_weight=job.settings.rate_weight,
        zero_motif=False,
        device=job.device,
    )
