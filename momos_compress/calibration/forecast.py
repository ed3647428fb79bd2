"""What a calibrated fit will take, before it runs: time by its own decision, and what it holds at most."""

from dataclasses import dataclass

from momos_compress.calibration.budget import GRADIENT_BATCH, HELD_VALUES
from momos_compress.calibration.decide import Decision, decide
from momos_compress.calibration.job import Job
from momos_compress.calibration.survey import Survey, survey

VALUE_BYTES = 4
"""Bytes of a float32, and of an index."""
LEVEL_BYTES = 2
"""Bytes of the index of a level."""
MATRICES = 6
"""Matrices of the widest layer that are held at once: its moments, their factors and products."""
LIVE_OUTPUTS = 3
"""Outputs of the largest layer that a forward pass holds at once: what goes in, what comes out, and what is added."""


@dataclass(frozen=True)
class Forecast:
    """What a calibrated fit is expected to take.

    Attributes:
        decision: Its numbers, and the seconds of its steps.
        held_bytes: What it holds at most beside the network that is loaded already.
    """

    decision: Decision
    held_bytes: int


def forecast(job: Job) -> Forecast:
    """Try the network and the search on this machine.

    Raises:
        MomosError: The network fails on a batch.
    """
    facts = survey(job)
    return Forecast(decide(job, facts), held_bytes(job, facts))


def held_bytes(job: Job, facts: Survey) -> int:
    """The most that a step of the fit holds, beside the network itself."""
    network: int = sum(tensor.numel() * tensor.element_size() for tensor in job.model.state_dict().values())
    values = {info.name: info.values for info in job.work.selection.chosen}
    matrices = 0
    for layer in facts.layers:
        columns = values[layer.parameter] // (layer.layout.rows or 1)
        if layer.module is not None and layer.kind != "embedding":
            matrices = max(matrices, MATRICES * layer.groups * columns**2 * VALUE_BYTES)
    # Indices stay to the end, and so does the copy that becomes the compressed network.
    levels = job.settings.bits is not None
    fitted = network + job.work.blocks * (LEVEL_BYTES if levels else VALUE_BYTES)
    # Motifs are drawn from all blocks, each with its cost.
    drawn = 0 if levels else (sum(values.values()) + job.work.blocks) * VALUE_BYTES
    waiting = min(HELD_VALUES, facts.values.every * job.data.samples) * VALUE_BYTES
    trained = facts.trained_at_once * facts.values.every * VALUE_BYTES
    return max(
        waiting + matrices,
        min(GRADIENT_BATCH, facts.trained_at_once) * facts.values.every * VALUE_BYTES + network,
        drawn + 2 * job.work.sampled_blocks * job.settings.s * VALUE_BYTES,
        fitted + matrices + 2 * waiting,
        fitted + LIVE_OUTPUTS * facts.repair_samples * facts.values.largest * VALUE_BYTES,
        fitted + LIVE_OUTPUTS * facts.sequence_samples * facts.values.inner * VALUE_BYTES,
        fitted + trained,
    )
