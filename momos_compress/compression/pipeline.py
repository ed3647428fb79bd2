"""The main job: measure, fit, project, write, read back, report."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from momos_compress.common.stages import Stages
from momos_compress.compression.describe import describe_run
from momos_compress.compression.report import Report
from momos_compress.container.assembly import recipe_of, stored_tensors
from momos_compress.container.inspection import mosaic_bytes
from momos_compress.container.reader import MomosFile
from momos_compress.container.writer import write_container
from momos_compress.fitting.faiss_library import backend, clustering_device
from momos_compress.fitting.methods import METHODS
from momos_compress.fitting.motifs import fit_motifs
from momos_compress.fitting.projection import project
from momos_compress.fitting.rounding import smallest_dtype
from momos_compress.fitting.row_scales import find_rows
from momos_compress.fitting.sampling import draw_blocks
from momos_compress.measures.bdm import bdm_range, sign_bdm
from momos_compress.measures.ctm import STRING_LENGTH, string_complexities
from momos_compress.mosaic.mosaic import Mosaic
from momos_compress.networks.accuracy import Accuracy, evaluate
from momos_compress.networks.load import load_model, model_of
from momos_compress.planning.plan import Plan, output_path, plan
from momos_compress.settings import Settings
from momos_compress.sources.baseline import Baseline, baseline_tensors, choose_baseline, measured_names
from momos_compress.sources.checkpoint import Checkpoint

if TYPE_CHECKING:
    from momos_compress.data.draws import CalibrationData

Progress = Callable[[str, int, int], None]
"""Told the stage, what has been done since the last call, and how much there is in all; units are the stage's own."""


@dataclass(frozen=True)
class Prepared:
    """A checkpoint's network on its device, and the inputs it is calibrated on, ready for several runs."""

    model: torch.nn.Module
    data: "CalibrationData"


@dataclass(frozen=True)
class Fitted:
    """A mosaic, what replaces tensors stored beside it, and what the report says of where motifs came from.

    excepted: weights that are stored beside it after all, and why.
    """

    mosaic: Mosaic
    replaced: Mapping[str, torch.Tensor]
    excepted: Mapping[str, str]
    calibration: str
    warnings: tuple[str, ...]


def compress(
    checkpoint: Checkpoint,
    settings: Settings,
    output: str | Path | None = None,
    *,
    data: str | None = None,
    stages: Stages | None = None,
    progress: Progress | None = None,
    fitted: Fitted | None = None,
) -> Report:
    """Project a checkpoint onto motifs and write the container; returns what it did, measured on the written file.

    data: labelled images on which accuracy is measured before and after (see ``evaluate``).
    stages: where times and memory are collected, with what the caller has timed already (such as loading).
    fitted: what ``fit_checkpoint`` gave for these very settings, where that has been done.
    """
    tell: Progress = progress or (lambda stage, done, total: None)
    path = output_path(checkpoint, output)
    work = plan(checkpoint, settings)
    settings, stages = work.settings, stages or Stages()
    before: Accuracy | None = None
    after: Accuracy | None = None
    if data is not None:
        with stages.stage("accuracy before"):
            before = _accuracy(model_of(checkpoint, device=settings.device), data, settings, "accuracy before", tell)
    bits_before: float | None = None
    bits_baseline: float | None = None
    bits_after: float | None = None
    baseline: Baseline | None = None
    if settings.bdm:
        names = measured_names(checkpoint)
        baseline = choose_baseline(checkpoint, seed=settings.seed)
        with stages.stage("complexity before"):
            bits_before = sign_bdm(_counted(map(checkpoint.read, names), "complexity before", work.parameters, tell))
        with stages.stage("complexity of baseline"):
            random = (tensor for _, tensor in baseline_tensors(checkpoint, baseline))
            bits_baseline = sign_bdm(_counted(random, "complexity of baseline", work.parameters, tell))
    if fitted is None:
        fitted = fit_checkpoint(checkpoint, work, path.parent, stages=stages, tell=tell)
    mosaic, work = fitted.mosaic, replace(work, selection=work.selection.without(fitted.excepted))
    with stages.stage("write"):
        stored, kept = stored_tensors(
            checkpoint.tensors,
            mosaic,
            settings.coding or "packed",
            passthrough=settings.passthrough,
            replaced=fitted.replaced,
            spool_directory=path.parent,
        )
        recipe = recipe_of(mosaic, kept, aliases=checkpoint.tensors.aliases, extra=describe_run(checkpoint, work))
        # A file that needs any extension of the format is small with all of them.
        file_bytes = write_container(path, stored, recipe, bundled=bool(recipe.features))
    file = MomosFile(path)
    with stages.stage("read back"):
        # Every figure below comes from the file, and every tensor's checksum has been verified by then.
        order = measured_names(checkpoint)
        weights = _counted(map(file.get, order), "read back", work.parameters, tell)
        if settings.bdm:
            bits_after = sign_bdm(weights)
        for name in set(file) - (set(order) if settings.bdm else set()):
            file.get(name)
    if data is not None:
        with stages.stage("accuracy after"):
            after = _accuracy(load_model(path, device=settings.device), data, settings, "accuracy after", tell)
    indices_bytes = mosaic_bytes(file)
    zero = (mosaic.codebook == 0).all(dim=1).nonzero()
    relative = mosaic.distortion / mosaic.energy if mosaic.energy else 0.0
    ratios = [b / bits_baseline if b is not None and bits_baseline else None for b in (bits_before, bits_after)]
    return Report(
        source=checkpoint.source,
        output=str(path),
        parameters=work.parameters,
        compressed_parameters=sum(tensor.values for tensor in mosaic.tensors),
        blocks=mosaic.blocks,
        k=mosaic.k,
        k_requested=work.k,
        s=settings.s,
        c=settings.c,
        method=str(settings.method),
        calibration=fitted.calibration,
        protocol=settings.protocol,
        seed=settings.seed,
        device=settings.device,
        zero_motif_share=float(mosaic.usage[int(zero[0])] / mosaic.blocks) if len(zero) else 0.0,
        sampled_blocks=mosaic.sampled_blocks,
        source_bytes=checkpoint.source_bytes,
        file_bytes=file_bytes,
        ratio=checkpoint.source_bytes / file_bytes,
        bits_per_weight=8 * file_bytes / work.parameters,
        mosaic_bytes=indices_bytes,
        index_bits_per_block=8 * indices_bytes / mosaic.blocks,
        index_entropy=mosaic.entropy,
        relative_distortion=relative,
        distortion_db=10 * math.log10(relative) if relative else None,
        bdm_before=bits_before,
        bdm_after=bits_after,
        bdm_baseline=bits_baseline,
        bdm_ratio_before=ratios[0],
        bdm_ratio_after=ratios[1],
        bdm_ratio_range=_ratio_range(checkpoint, bits_baseline) if bits_baseline else None,
        baseline=baseline.note if baseline else None,
        accuracy_before=before.top1 if before else None,
        accuracy_after=after.top1 if after else None,
        data=data,
        left_out=work.selection.left_out,
        stored_as_half=sum(dtype != torch.float16 for dtype in kept.cast.values()),
        stored_in_bytes=len(kept.affine8),
        backend=backend(settings.device),
        warnings=(*checkpoint.warnings, *work.selection.warnings, *fitted.warnings),
        stages=tuple(stages.done),
        seconds=stages.seconds,
        peak_memory_bytes=stages.peak_memory_bytes,
        provenance=checkpoint.provenance,
    )


def _ratio_range(checkpoint: Checkpoint, bits_baseline: float) -> tuple[float, float]:
    names = set(measured_names(checkpoint))
    weights = sum(info.values for info in checkpoint.tensors.infos if info.name in names)
    low, high = bdm_range(weights // STRING_LENGTH, string_complexities())
    return low / bits_baseline, high / bits_baseline


def _accuracy(model: torch.nn.Module, data: str, settings: Settings, stage: str, tell: Progress) -> Accuracy:
    return evaluate(model, data, device=settings.device, progress=lambda _, done, total: tell(stage, done, total))


def _counted(tensors: Iterator[torch.Tensor], stage: str, total: int, tell: Progress) -> Iterator[torch.Tensor]:
    tell(stage, 0, total)
    for tensor in tensors:
        yield tensor
        tell(stage, tensor.numel(), total)


def fit_checkpoint(
    checkpoint: Checkpoint,
    work: Plan,
    spool_directory: Path | None,
    *,
    prepared: Prepared | None = None,
    stages: Stages | None = None,
    tell: Progress,
) -> Fitted:
    """Motifs and mosaic of a plan; ``prepared`` where network and calibration inputs are there already."""
    stages = stages or Stages()
    method = METHODS[str(work.settings.method)]
    if not method.reads_network:
        mosaic = _fit_and_project(checkpoint, work, spool_directory, stages, tell)
        return Fitted(mosaic, {}, {}, "none: the weights alone", ())
    from momos_compress.calibration.prepare import calibration_inputs, check_weights

    if prepared is None:
        with stages.stage("load network"):
            check_weights(checkpoint, work)
            model = model_of(checkpoint, device=work.settings.device)
        with stages.stage("inputs"):
            prepared = Prepared(model, calibration_inputs(checkpoint, work, model, tell=tell))
    fitted = method.load()(
        checkpoint, work, prepared.model, prepared.data, spool_directory=spool_directory, stages=stages, tell=tell
    )
    return Fitted(fitted.mosaic, fitted.replaced, fitted.excepted, prepared.data.description, fitted.warnings)


def _fit_and_project(
    checkpoint: Checkpoint, work: Plan, spool_directory: Path | None, stages: Stages, tell: Progress
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
            progress=tell,
        )
    with stages.stage("fit"):
        tell("fit", 0, 0)
        motifs = fit_motifs(
            blocks,
            work.k,
            method=str(settings.method),
            seed=settings.seed,
            zero_motif=settings.zero_motif,
            device=device,
        )
    with stages.stage("assign"):
        return project(
            checkpoint,
            chosen,
            motifs,
            codebook_dtype=settings.codebook_dtype or smallest_dtype(motifs, blocks),
            rows=rows,
            keep_unused=paper,
            ties="lowest" if paper else "any",
            device=device,
            spool_directory=spool_directory,
            energy=energy,
            sampled_blocks=len(blocks),
            progress=tell,
        )
