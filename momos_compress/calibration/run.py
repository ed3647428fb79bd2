"""A compression that is fitted to calibration inputs, from the network to the mosaic and what is stored beside it."""

import copy
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from momos_compress.calibration.alternation import first_pass, improve
from momos_compress.calibration.compressed import rebuild, replaced_tensors, tune_beside
from momos_compress.calibration.decide import decide
from momos_compress.calibration.job import Job
from momos_compress.calibration.level_fit import first_levels
from momos_compress.calibration.objective import dearer_than, distortion
from momos_compress.calibration.pieces import PIECE_VALUES
from momos_compress.calibration.retarget import retarget
from momos_compress.calibration.sequence import STAGE, refit_in_sequence
from momos_compress.calibration.start import Targets, first_state, targets_of
from momos_compress.calibration.state import FitState
from momos_compress.calibration.statistics import Statistics, measure_gradients, measure_inputs
from momos_compress.calibration.survey import Survey, survey
from momos_compress.calibration.validation import Kept, set_apart, validation_loss
from momos_compress.common.progress import Progress
from momos_compress.common.stages import Stages
from momos_compress.container.passthrough import stored_dtype
from momos_compress.data.draws import CalibrationData
from momos_compress.fitting.rounding import EIGHT_BIT_LOSS
from momos_compress.mosaic.codebook import decode_codebook, quantise_codebook
from momos_compress.mosaic.mosaic import Mosaic, MosaicBuilder
from momos_compress.planning.estimate import bytes_beside
from momos_compress.planning.plan import Plan
from momos_compress.planning.steps import Steps
from momos_compress.sources.checkpoint import Checkpoint

DOMINANT = "its error would cost more than its bytes"
"""The reason for leaving a weight out of the mosaic that is found by measurement."""


@dataclass(frozen=True)
class CalibratedMosaic:
    """A mosaic that is fitted to calibration inputs.

    Attributes:
        mosaic: The mosaic.
        replaced: Checkpoint name -> corrected value, of tensors that are stored beside it.
        excepted: Checkpoint name -> reason, of weights that are stored beside it after all.
        steps: Samples, passes, rounds and epochs that it took.
        warnings: What the user should know.
    """

    mosaic: Mosaic
    replaced: dict[str, torch.Tensor]
    excepted: dict[str, str]
    steps: Steps
    warnings: tuple[str, ...]


def fit_calibrated(
    checkpoint: Checkpoint,
    work: Plan,
    model: nn.Module,
    data: CalibrationData,
    *,
    spool_directory: Path | None,
    stages: Stages,
    tell: Progress,
) -> CalibratedMosaic:
    """Fit motifs and mosaic to what a network computes.

    Args:
        checkpoint: The weights.
        work: What is compressed, and how.
        model: The checkpoint's network, on the plan's device.
        data: What it is calibrated on.
        spool_directory: Where temporary files lie; None for the system's own place.
        stages: Where times are collected.
        tell: Told what has been done.

    Raises:
        MomosError: The network fails on the data, or gives values or gradients that are not finite.
    """
    job, apart = Job(checkpoint, work, model, data, spool_directory, tell), 0
    if work.settings.bits is not None:
        job, apart = set_apart(job)
    started = time.perf_counter()
    facts = survey(job)
    with stages.stage("trial"):
        decision = decide(job, facts)
        steps = decision.steps
    with stages.stage("calibrate"):
        statistics = Statistics(measure_inputs(job, facts, steps), measure_gradients(job, facts, steps))
    targets = targets_of(job, facts, statistics)
    with stages.stage("fit"):
        state = first_state(job, targets, statistics)
        _fit_first(job, state, steps.passes)
        excepted = _except(job, state) if work.settings.exceptions and not work.settings.include else {}
    compressed = copy.deepcopy(model)  # only now: the fit before holds most beside the network
    if state.levels is None:
        _run_rounds(job, facts, steps, state, compressed, stages)
    else:
        _run_in_sequence(job, facts, steps, state, compressed, apart, stages)
    with stages.stage("round motifs"):
        stored, step = _stored_codebook(job, state)
        state.codebook = decode_codebook(stored, step).to(job.device)
        if state.levels is None:
            improve(state, lambda done: tell("round motifs", done, state.blocks), codebook=False)
    with stages.stage("repair"):
        changed = rebuild(job, facts, state, compressed)
        changed |= tune_beside(job, facts, steps, compressed, apart)
    mosaic = _mosaic(job, state, stored, step)
    replaced = replaced_tensors(job, compressed, changed)
    warnings = _warnings(data, statistics, targets, decision.warning(time.perf_counter() - started))
    return CalibratedMosaic(mosaic, replaced, excepted, steps, warnings)


def _fit_first(job: Job, state: FitState, passes: int) -> None:
    """The first mosaic, and the passes before the first round."""
    total = state.blocks * (1 + passes)
    if job.settings.bits is not None:
        first_levels(state, job.checkpoint.read, _bits_for_levels(job), lambda done: job.tell("fit", done, total))
    else:
        first_pass(state, lambda done: job.tell("fit", done, total))
    for _ in range(passes):
        improve(state, lambda done: job.tell("fit", done, total))


def _bits_for_levels(job: Job) -> float:
    """Bits that are left for levels when all else is stored."""
    assert job.settings.bits is not None
    scales = sum(info.shape[0] + info.values // info.shape[0] for info in job.work.selection.chosen)
    return job.settings.bits * job.work.parameters - 8 * (bytes_beside(job.checkpoint, job.work) + scales)


def _run_rounds(job: Job, facts: Survey, steps: Steps, state: FitState, compressed: nn.Module, stages: Stages) -> None:
    """Compare the networks and fit all layers again."""
    for _ in range(steps.rounds):
        with stages.stage("compare"):
            rebuild(job, facts, state, compressed)
            retarget(job, facts, steps, state, compressed)
        with stages.stage("fit again"):
            _improve(job, state, "fit again", steps.again)


def _run_in_sequence(
    job: Job, facts: Survey, steps: Steps, state: FitState, compressed: nn.Module, apart: int, stages: Stages
) -> None:
    """Fit levels again layer after layer; undone where it does not help on the samples apart."""
    for _ in range(steps.rounds):
        kept = None
        if apart:
            with stages.stage("compare"):
                rebuild(job, facts, state, compressed)
                kept = Kept.of(state, validation_loss(job, facts, compressed, apart))
        with stages.stage(STAGE):
            refit_in_sequence(job, facts, steps, state, compressed)
            if kept is not None and validation_loss(job, facts, compressed, apart) >= kept.loss:
                kept.restore(state)
                return
            _improve(job, state, STAGE, steps.again)


def _improve(job: Job, state: FitState, stage: str, passes: int) -> None:
    for _ in range(passes):
        improve(state, lambda done: job.tell(stage, done, state.blocks * passes))


def _except(job: Job, state: FitState) -> dict[str, str]:
    """Take each weight whose errors cost more than storing it out of the state; returns name -> reason."""
    whole = {}
    for layer in state.layers:
        weight = job.checkpoint.read(layer.name)
        whole[layer.name] = 8 * weight.numel() * stored_dtype(weight, job.settings.passthrough).itemsize
    excepted = dict.fromkeys(dearer_than(state, whole), DOMINANT)
    for name in excepted:
        state.leave_out(name)
    return excepted


def _stored_codebook(job: Job, state: FitState) -> tuple[torch.Tensor, float | None]:
    """The codebook as it is stored, and what an int8 one counts: in a byte a value where that costs next to nothing."""
    motifs = state.codebook.cpu().numpy()
    dtype = job.settings.codebook_dtype or (None if state.levels is None else "float16")
    if dtype is not None:
        return quantise_codebook(motifs, dtype)
    stored, step = quantise_codebook(motifs, "int8")
    rounded = dataclasses.replace(state, codebook=decode_codebook(stored, step).to(job.device))
    if distortion(rounded) <= (1 + EIGHT_BIT_LOSS) * distortion(state):
        return stored, step
    return quantise_codebook(motifs, "float16")


def _mosaic(job: Job, state: FitState, stored: torch.Tensor, step: float | None) -> Mosaic:
    """The mosaic over the codebook as it is stored, measured against the checkpoint's own weights."""
    infos = {info.name: info for info in job.work.selection.chosen}
    builder, codebook = MosaicBuilder(len(stored), spool_directory=job.spool_directory), state.codebook.cpu()
    energy = 0.0
    for layer in state.layers:
        weight = job.checkpoint.read(layer.name)
        decoded = layer.weight(codebook, tuple(weight.shape)).to(weight.dtype)
        error = 0.0
        pairs = (torch.split(part.reshape(-1), PIECE_VALUES) for part in (weight, decoded))
        for there, here in zip(*pairs, strict=True):
            error += float((there.double() - here.double()).square().sum())
            energy += float(there.double().square().sum())
        indices = layer.indices.reshape(-1).numpy()
        builder.add(infos[layer.name], indices, error, layer.layout, layer.scales, layer.columns)
    return builder.finish(stored, step, energy=energy, sampled_blocks=job.work.sampled_blocks)


def _warnings(data: CalibrationData, statistics: Statistics, targets: Targets, of_time: str | None) -> tuple[str, ...]:
    out, silent, damping = list(data.warnings), statistics.inputs.silent, targets.damping
    if silent:
        out.append(f"no calibration input reached {_some(silent)}: fitted without data")
    if damping:
        out.append(
            f"the inputs of {_some(tuple(damping))} are linearly dependent: damped by up to "
            f"{max(damping.values()):g} times their mean square"
        )
    return tuple(out if of_time is None else [*out, of_time])


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
