"""What is known of a network before it is calibrated: its layers, what fits into memory, and what may change."""

from dataclasses import dataclass

from torch import nn

from momos_compress.calibration.budget import BATCH, REPAIR_SAMPLES
from momos_compress.calibration.job import Job
from momos_compress.calibration.repair import repairable
from momos_compress.data.batches import to_device
from momos_compress.networks.costs import SampleValues, sample_values
from momos_compress.networks.layers import LayerWeight, find_layers, own_names
from momos_compress.planning.plan import Plan
from momos_compress.planning.select import EXCLUDED


@dataclass(frozen=True)
class Survey:
    """Facts on a network.

    Attributes:
        layers: The layer of each weight that is compressed.
        batch: Samples of a batch.
        repair_samples: Samples from which means and variances are repaired, all at once.
        sequence_samples: Samples on which layers are fitted in sequence, all at once.
        trained_at_once: Samples that a backward pass may hold.
        values: Values that its layers give for a sample.
        beside: Names, in the network, of tensors that are stored beside the mosaic and may change.
        fixed: Names of all its other tensors.
        centred: Weights whose outputs' means repair puts right.
    """

    layers: tuple[LayerWeight, ...]
    batch: int
    repair_samples: int
    sequence_samples: int
    trained_at_once: int
    values: SampleValues
    beside: frozenset[str]
    fixed: frozenset[str]
    centred: frozenset[str]


def survey(job: Job) -> Survey:
    """Run the network on the two longest samples, and see."""
    layers = find_layers(job.model, job.work.selection.chosen)
    few = to_device(job.data.longest(2), job.device)
    values = sample_values(job.model, few)
    beside = _changeable(job.model, job.work)
    fixed = frozenset(job.model.state_dict()) - beside
    return Survey(
        layers=tuple(layers),
        batch=min(BATCH, values.fastest),
        repair_samples=max(2, min(values.most, job.data.samples, REPAIR_SAMPLES)),
        sequence_samples=max(2, min(max(values.most, values.most_within), job.data.samples, REPAIR_SAMPLES)),
        trained_at_once=values.trained,
        values=values,
        beside=beside,
        fixed=fixed,
        centred=frozenset(repairable(job.model, layers, few, fixed=fixed)),
    )


def _changeable(model: nn.Module, work: Plan) -> frozenset[str]:
    """Names, in the network, of what is stored beside the mosaic, but for what the user excluded."""
    state, left_out = model.state_dict(keep_vars=True), work.selection.left_out
    own = own_names(model, [name for name, reason in left_out.items() if reason != EXCLUDED])
    ids = {id(state[name]) for name in own.values() if name in state}
    return frozenset(name for name, tensor in state.items() if id(tensor) in ids)
