"""The mosaic of a checkpoint: motifs found and a motif named for every block."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from momos_compress.common.progress import Progress, silent
from momos_compress.common.stages import Stages
from momos_compress.fitting.faiss_library import clustering_device
from momos_compress.fitting.methods import METHODS
from momos_compress.fitting.motifs import fit_motifs
from momos_compress.fitting.projection import project
from momos_compress.fitting.rounding import smallest_dtype
from momos_compress.fitting.row_scales import find_rows
from momos_compress.fitting.sampling import draw_blocks
from momos_compress.mosaic.mosaic import Mosaic
from momos_compress.networks.load import lay_out_for_speed, model_of
from momos_compress.planning.plan import ALONE, Plan, plan
from momos_compress.settings import NO_CALIBRATION
from momos_compress.sources.checkpoint import Checkpoint

if TYPE_CHECKING:
    from momos_compress.data.draws import CalibrationData

UNCALIBRATED = "none: the weights alone"
"""What a report says where motifs were fitted to no data."""


@dataclass(frozen=True)
class NetworkInputs:
    """A network and the inputs that motifs are fitted to, opened once for several fits.

    Attributes:
        model: The checkpoint's network, on the device of the fit.
        data: Its calibration inputs.
    """

    model: torch.nn.Module
    data: "CalibrationData"


@dataclass(frozen=True)
class FittedMosaic:
    """A mosaic, and what a file holds beside it in place of the checkpoint's own tensors.

    Attributes:
        mosaic: Motifs and indices.
        replaced: Name -> value of tensors beside the mosaic that the fit corrected.
        excepted: Name -> reason, for weights that the plan chose and the fit left out of the mosaic.
        calibration: What motifs were fitted to, in words.
        warnings: What the user should know of the fit.
        steps: What a calibrated fit did with the network, as ``Settings.steps`` takes it; None of weights alone.
    """

    mosaic: Mosaic
    replaced: Mapping[str, torch.Tensor]
    excepted: Mapping[str, str]
    calibration: str
    warnings: tuple[str, ...]
    steps: str | None = None


def fitted_to_weights(mosaic: Mosaic) -> FittedMosaic:
    """Wrap a mosaic that was fitted to weights alone: nothing else changes."""
    return FittedMosaic(mosaic, {}, {}, UNCALIBRATED, ())


def fit_checkpoint(
    checkpoint: Checkpoint,
    work: Plan,
    spool_directory: Path | None,
    *,
    network: NetworkInputs | None = None,
    stages: Stages | None = None,
    progress: Progress = silent,
) -> FittedMosaic:
    """Find the motifs and the mosaic of a plan.

    Args:
        checkpoint: The weights.
        work: What to do.
        spool_directory: Where indices wait in a temporary file, if they are many; None: in memory.
        network: The network and its calibration inputs, as ``open_network`` gives them; None for a method that looks at
            weights alone.
        stages: Collects times and memory.
        progress: Told how far each stage is.
    """
    stages = stages or Stages()
    method = METHODS[work.settings.method]
    if not method.reads_network:
        return fitted_to_weights(_fit_to_weights(checkpoint, work, spool_directory, stages, progress))
    if network is None:
        raise ValueError(f"{work.settings.method} needs a network")
    found = method.load()(
        checkpoint, work, network.model, network.data, spool_directory=spool_directory, stages=stages, tell=progress
    )
    return FittedMosaic(
        found.mosaic,
        found.replaced,
        found.excepted,
        network.data.description,
        found.warnings,
        # A method of someone else's need not say.
        None if getattr(found, "steps", None) is None else str(found.steps),
    )


def open_network(
    checkpoint: Checkpoint,
    work: Plan,
    *,
    held_out: int | None = None,
    trial: bool = False,
    stages: Stages | None = None,
    progress: Progress = silent,
) -> tuple[Plan, NetworkInputs | None]:
    """Open the network and the inputs that a plan fits motifs to.

    Args:
        checkpoint: The weights.
        work: A plan.
        held_out: Further inputs to keep apart, to measure on; None: a few, where there are enough.
        trial: Whether they only serve to tell what a run will take: made-up ones are left rough then.
        stages: Collects times and memory.
        progress: Told how far the making of inputs is.

    Returns:
        The plan with its network and inputs. Where none can be made up, a plan for the weights alone whose warnings say
        why, and None; as for a plan that reads no network.

    Raises:
        MomosError: A weight is no number, or the user's data cannot be read or do not fit the network.
    """
    if not METHODS[work.settings.method].reads_network:
        return work, None
    from momos_compress.calibration.apart import inputs_with_some_apart
    from momos_compress.calibration.input_kinds import NoInputsError
    from momos_compress.calibration.prepare import calibration_inputs, check_weights

    stages = stages or Stages()
    with stages.stage("load network"):
        check_weights(checkpoint, work)
        model = model_of(checkpoint, device=work.settings.device)
        lay_out_for_speed(model, work.settings.device)
    try:
        with stages.stage("inputs"):
            if held_out is None:
                data = inputs_with_some_apart(checkpoint, work, model, tell=progress, trial=trial)
            else:
                data = calibration_inputs(checkpoint, work, model, tell=progress, held_out=held_out, trial=trial)
    except NoInputsError as error:
        alone = weights_alone(checkpoint, work)
        warned = alone.selection.with_warning(f"{error}: {ALONE}")
        return replace(alone, selection=warned), None
    return work, NetworkInputs(model, data)


def weights_alone(checkpoint: Checkpoint, work: Plan) -> Plan:
    """The same plan for motifs that are fitted to the weights alone."""
    settings = replace(work.settings.as_settings(), method=None, calibrate=NO_CALIBRATION)
    if settings.bits is not None:  # what they are shared out by is not known: motifs are counted, as many as by default
        settings = replace(settings, bits=None, s=None, coding=None)
    return plan(checkpoint, settings)


def _fit_to_weights(
    checkpoint: Checkpoint, work: Plan, spool_directory: Path | None, stages: Stages, progress: Progress
) -> Mosaic:
    settings, chosen = work.settings, work.selection.chosen
    paper, device = settings.protocol == "paper", clustering_device(settings.device)
    with stages.stage("sample"):
        rows = {} if paper else find_rows(checkpoint, chosen, settings.s)
        blocks, energy = draw_blocks(
            checkpoint,
            chosen,
            settings.s,
            work.sampled_blocks,
            seed=settings.seed,
            rows=rows,
            progress=progress,
        )
    with stages.stage("fit"):
        progress("fit", 0, 0)
        motifs = fit_motifs(
            blocks,
            work.k,
            method=settings.method,
            seed=settings.seed,
            zero_motif=settings.zero_motif,
            device=device,
        )
    with stages.stage("assign"):
        dtype = smallest_dtype(motifs, blocks) if settings.codebook_dtype is None else settings.codebook_dtype
        return project(
            checkpoint,
            chosen,
            motifs,
            codebook_dtype=dtype,
            rows=rows,
            keep_unused=paper,
            ties="lowest" if paper else "any",
            device=device,
            spool_directory=spool_directory,
            energy=energy,
            sampled_blocks=len(blocks),
            progress=progress,
        )
