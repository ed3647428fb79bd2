"""The compressed network: built from the mosaic, repaired, and tuned against the original."""

import torch
from torch import nn

from momos_compress.calibration.job import Job
from momos_compress.calibration.repair import repair
from momos_compress.calibration.state import FitState
from momos_compress.calibration.survey import Survey
from momos_compress.calibration.tuning import LEARNING_RATE, LEARNING_RATE_OF_LEVELS, tune
from momos_compress.calibration.validation import validation_loss
from momos_compress.data.batches import batch_length, to_device
from momos_compress.networks.layers import own_names
from momos_compress.planning.steps import Steps

TUNING_BATCH = 16
"""Samples of a step of tuning, in pieces where fewer fit into memory."""


def rebuild(job: Job, facts: Survey, state: FitState, compressed: nn.Module, samples: int | None = None) -> set[str]:
    """Give ``compressed`` the weights that the mosaic decodes to, and repair its means and variances.

    Args:
        job: The fit.
        facts: Of its network.
        state: The mosaic; weights that are not in it are the original's.
        compressed: A copy of the job's network, changed in place.
        samples: How many repair sees; as many as fit into memory at once by default.

    Returns:
        Names, in the network, of the tensors that repair changed.
    """
    compressed.load_state_dict(job.model.state_dict())
    parameters = dict(compressed.named_parameters(remove_duplicate=False))
    own = {layer.parameter: layer.own_name for layer in facts.layers}
    infos = {info.name: info for info in job.work.selection.chosen}
    codebook = state.codebook.cpu()
    compressed.train().eval()  # some networks keep what they computed of weights until they train again
    with torch.no_grad():
        for layer in state.layers:
            info = infos[layer.name]
            if own[layer.name] in parameters:
                parameters[own[layer.name]].copy_(layer.weight(codebook, info.shape).to(info.dtype))
    samples = min(samples or facts.repair_samples, job.data.samples)
    batch = to_device(job.data.read(range(samples)), job.device)
    return set(repair(job.model, compressed, facts.layers, batch, fixed=facts.fixed))


def tune_beside(job: Job, facts: Survey, steps: Steps, compressed: nn.Module, apart: int) -> set[str]:
    """Train norms and biases of ``compressed`` in place; returns the names, in the network, of those that changed.

    Args:
        job: The fit.
        facts: Of its network.
        steps: On how many samples, and how often.
        compressed: The network as the mosaic decodes, repaired.
        apart: Samples behind the job's on which a loss that is not lower afterwards undoes it all; with none the
            samples that it was tuned on serve for that.
    """
    parameters = job.model.named_parameters()
    kept = [name for name, tensor in parameters if name in facts.beside and tensor.ndim < 2]
    batches = list(job.data.batches(max(facts.batch, TUNING_BATCH), steps.tuned))
    count = sum(map(batch_length, batches)) * steps.epochs
    tuned = tune(
        job.model,
        compressed,
        kept,
        batches,
        epochs=steps.epochs,
        seed=job.settings.seed,
        device=job.device,
        at_once=facts.trained_at_once,
        learning_rate=LEARNING_RATE if job.settings.bits is None else LEARNING_RATE_OF_LEVELS,
        loss=(lambda network: validation_loss(job, facts, network, apart)) if apart else None,
        progress=lambda done: job.tell("tune", done, count),
    )
    return set(tuned)


def replaced_tensors(job: Job, compressed: nn.Module, changed: set[str]) -> dict[str, torch.Tensor]:
    """What is stored beside the mosaic and has changed.

    Args:
        job: The fit.
        compressed: The network after repair and tuning.
        changed: Names, in the network, of the tensors that changed.

    Returns:
        Checkpoint name -> new value on the CPU, in the dtype it has there.
    """
    # By identity: the network may have other names for the same tensors than the file.
    state = compressed.state_dict(keep_vars=True)
    ids = {id(state[name]) for name in changed}
    names = own_names(job.model, job.work.selection.left_out)
    dtypes = {info.name: info.dtype for info in job.checkpoint.tensors.infos}
    return {
        name: state[own].detach().cpu().to(dtypes[name])
        for name, own in names.items()
        if own in state and id(state[own]) in ids
    }
