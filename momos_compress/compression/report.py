"""The record of one compression."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from momos_compress.common.stages import Stage, Stages
from momos_compress.compression.fit import FittedMosaic
from momos_compress.compression.measure import Before
from momos_compress.compression.write import Verified, Written
from momos_compress.fitting.faiss_library import backend
from momos_compress.mosaic.mosaic import Mosaic
from momos_compress.networks.fidelity import Fidelity
from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Report:
    """What a compression did; a figure that was not measured, or that is not defined, is None.

    Attributes:
        source: The checkpoint, as it was named.
        output: The file written.
        parameters: Weights of the checkpoint, without buffers.
        compressed_parameters: Weights in the mosaic.
        blocks: Blocks in the mosaic.
        k: Motifs in the file.
        k_requested: Motifs that were looked for; some may be unused, or equal.
        s: Values in a block.
        c: Capacity, motifs over blocks; None where k was asked for.
        method: How motifs were found.
        calibration: What motifs were fitted to, in words.
        steps: Samples, passes, rounds and epochs of a calibrated fit, as ``Settings.steps`` takes them; else None.
        protocol: "default" or "paper".
        seed: Seed of every random draw.
        device: Where torch computed.
        zero_motif_share: Share of blocks that are the zero motif, 0 to 1.
        sampled_blocks: Blocks that motifs were found on.
        source_bytes: Size of the source.
        file_bytes: Size of the file.
        ratio: ``source_bytes`` over ``file_bytes``.
        bits_per_weight: Bits of the file over ``parameters``, compressed or not.
        mosaic_bytes: Bytes of the stored indices, with the counts that decode them.
        index_bits_per_block: Bits of ``mosaic_bytes`` over ``blocks``.
        index_entropy: Bits that an index needs at least, by how often each motif is used.
        relative_distortion: Squared error over energy, both over the compressed weights.
        distortion_db: ``relative_distortion`` in decibels.
        bdm_before: BDM of the checkpoint's signs, in bits.
        bdm_after: BDM of the decoded signs, in bits.
        bdm_baseline: BDM of the baseline's signs, in bits.
        bdm_ratio_before: ``bdm_before`` over ``bdm_baseline``.
        bdm_ratio_after: ``bdm_after`` over ``bdm_baseline``.
        bdm_ratio_range: The least and the greatest ratio that as many weights can have against this baseline.
        baseline: What complexity is compared with, in words.
        accuracy_before: Top-1 of the checkpoint's network, in per cent.
        accuracy_after: Top-1 of the decoded network, in per cent.
        data: Labelled images that accuracy was measured on.
        fidelity: How the file's outputs differ from the original's, without labels; None where no network was run.
        left_out: Name -> reason, for tensors beside the mosaic.
        stored_as_half: How many of them are stored as float16 instead of a wider dtype.
        stored_in_bytes: How many of them are stored in a byte a value.
        backend: Which libraries searched for motifs.
        warnings: What the user should know.
        stages: Time and memory of each stage, in order.
        seconds: Time of all stages.
        peak_memory_bytes: The highest resident memory of any stage.
        provenance: Where the checkpoint came from.

    Examples:
        >>> import momos_compress as mc, momos_zoo
        >>> weights = mc.open_checkpoint("digits")
        >>> report = mc.compress(weights, mc.Settings(k=256, calibrate="none"), "small.momos.safetensors")
        >>> report.k, report.method, report.ratio > 7
        (256, 'faiss', True)
    """

    source: str
    output: str
    parameters: int
    compressed_parameters: int
    blocks: int
    k: int
    k_requested: int
    s: int
    c: float | None
    method: str
    calibration: str
    steps: str | None
    protocol: str
    seed: int
    device: str
    zero_motif_share: float
    sampled_blocks: int
    source_bytes: int
    file_bytes: int
    ratio: float
    bits_per_weight: float
    mosaic_bytes: int
    index_bits_per_block: float
    index_entropy: float
    relative_distortion: float
    distortion_db: float | None
    bdm_before: float | None
    bdm_after: float | None
    bdm_baseline: float | None
    bdm_ratio_before: float | None
    bdm_ratio_after: float | None
    bdm_ratio_range: tuple[float, float] | None
    baseline: str | None
    accuracy_before: float | None
    accuracy_after: float | None
    data: str | None
    fidelity: Fidelity | None
    left_out: Mapping[str, str]
    stored_as_half: int
    stored_in_bytes: int
    backend: Mapping[str, Any]
    warnings: tuple[str, ...]
    stages: tuple[Stage, ...]
    seconds: float
    peak_memory_bytes: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Turn into a JSON-ready record with every field."""
        return dataclasses.asdict(self)


def report_of(
    checkpoint: Checkpoint,
    work: Plan,
    fitted: FittedMosaic,
    written: Written,
    *,
    before: Before,
    after: Verified,
    data: str | None,
    stages: Stages,
) -> Report:
    """Gather what each step found into one record. Over 60 lines because it names every field once."""
    mosaic, settings, complexity = fitted.mosaic, work.settings, before.complexity
    relative = mosaic.distortion / mosaic.energy if mosaic.energy else 0.0
    baseline_bits = complexity.baseline_bits if complexity else None
    return Report(
        source=checkpoint.source,
        output=str(written.path),
        parameters=work.parameters,
        compressed_parameters=sum(tensor.values for tensor in mosaic.tensors),
        blocks=mosaic.blocks,
        k=mosaic.k,
        k_requested=work.k,
        s=settings.s,
        c=settings.c,
        method=settings.method,
        calibration=fitted.calibration,
        steps=fitted.steps,
        protocol=settings.protocol,
        seed=settings.seed,
        device=settings.device,
        zero_motif_share=_zero_share(mosaic),
        sampled_blocks=mosaic.sampled_blocks,
        source_bytes=checkpoint.source_bytes,
        file_bytes=written.file_bytes,
        ratio=checkpoint.source_bytes / written.file_bytes,
        bits_per_weight=8 * written.file_bytes / work.parameters,
        mosaic_bytes=after.mosaic_bytes,
        index_bits_per_block=8 * after.mosaic_bytes / mosaic.blocks,
        index_entropy=mosaic.entropy,
        relative_distortion=relative,
        distortion_db=10 * math.log10(relative) if relative else None,
        bdm_before=complexity.bits if complexity else None,
        bdm_after=after.bdm_bits,
        bdm_baseline=baseline_bits,
        bdm_ratio_before=_ratio(complexity.bits if complexity else None, baseline_bits),
        bdm_ratio_after=_ratio(after.bdm_bits, baseline_bits),
        bdm_ratio_range=_range(before),
        baseline=complexity.baseline if complexity else None,
        accuracy_before=before.top1,
        accuracy_after=after.top1,
        data=data,
        fidelity=written.fidelity,
        left_out=work.selection.without(fitted.excepted).left_out,
        stored_as_half=sum(dtype != torch.float16 for dtype in written.kept.cast.values()),
        stored_in_bytes=len(written.kept.affine8),
        backend=backend(settings.device),
        warnings=(*checkpoint.warnings, *work.selection.warnings, *fitted.warnings),
        stages=tuple(stages.done),
        seconds=stages.seconds,
        peak_memory_bytes=stages.peak_memory_bytes,
        provenance=checkpoint.provenance,
    )


def _zero_share(mosaic: Mosaic) -> float:
    zero = (mosaic.codebook == 0).all(dim=1).nonzero()
    return float(mosaic.usage[int(zero[0])] / mosaic.blocks) if len(zero) else 0.0


def _ratio(bits: float | None, baseline_bits: float | None) -> float | None:
    """BDM over the baseline's, which may be zero."""
    return bits / baseline_bits if bits is not None and baseline_bits else None


def _range(before: Before) -> tuple[float, float] | None:
    if before.complexity is None or not before.complexity.baseline_bits:
        return None
    low, high = (bits / before.complexity.baseline_bits for bits in before.complexity.range_bits)
    return low, high
