"""What a run will do, decided before any weight is read."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from momos_compress.coding.registry import get_coding
from momos_compress.common.atomic import check_writable
from momos_compress.errors import MomosError
from momos_compress.fitting.faiss_library import faiss_problem
from momos_compress.fitting.methods import HESSIAN, METHODS, default_method, get_method
from momos_compress.fitting.motifs import sample_size
from momos_compress.mosaic.blocks import (
    check_block_size,
    check_motif_count,
    count_blocks,
    fills_rows,
    motifs_for_capacity,
    row_layout,
)
from momos_compress.mosaic.codebook import CODEBOOK_DTYPES
from momos_compress.planning.select import Selection, select
from momos_compress.settings import (
    DEFAULT_C,
    NO_CALIBRATION,
    SYNTHETIC,
    Device,
    Passthrough,
    Protocol,
    Settings,
)
from momos_compress.sources.checkpoint import Checkpoint

MAX_RATE_WEIGHT = 100


@dataclass(frozen=True)
class Plan:
    """The choices made, the tensors taken part, and the numbers that follow from them."""

    settings: Settings
    selection: Selection
    parameters: int
    blocks: int
    k: int
    sampled_blocks: int


def resolve(settings: Settings) -> Settings:
    """The same settings with every choice made and checked; MomosError names what is wrong."""
    check_block_size(settings.s)
    if settings.c is not None and settings.k is not None:
        raise MomosError("give either c or k, not both: k = c times the number of blocks")
    for option, value, choices in (
        ("protocol", settings.protocol, get_args(Protocol)),
        ("passthrough", settings.passthrough, get_args(Passthrough)),
        ("device", settings.device, get_args(Device)),
    ):
        if value not in choices:
            raise MomosError(f"unknown {option} {value!r}; choose from {', '.join(choices)}")
    paper = settings.protocol == "paper"
    if paper and settings.method not in (None, "random"):
        raise MomosError(f"--protocol paper draws its motifs at random; drop --method {settings.method}")
    method, calibrate = _method(settings)
    dtype = settings.codebook_dtype or ("float32" if paper else None)
    if dtype is not None and dtype not in CODEBOOK_DTYPES:
        raise MomosError(f"unknown codebook dtype {dtype!r}; choose from {', '.join(CODEBOOK_DTYPES)}")
    coding = settings.coding or ("packed" if paper else "ans")
    get_coding(coding)
    if settings.samples is not None and settings.samples < 1:
        raise MomosError(f"--samples must be at least 1, not {settings.samples}")
    if not 0 <= settings.rate_weight <= MAX_RATE_WEIGHT:
        raise MomosError(f"--rate-weight must lie in 0..{MAX_RATE_WEIGHT}, not {settings.rate_weight:g}")
    if settings.k is not None:
        check_motif_count(settings.k)
    elif settings.c is not None:
        motifs_for_capacity(settings.c, 1)
    if not 0 <= settings.seed < 2**63:
        raise MomosError(f"the seed must not be negative, nor 2^63 or more, and is {settings.seed}")
    c = DEFAULT_C if settings.c is None and settings.k is None else settings.c
    return dataclasses.replace(
        settings,
        c=c,
        method=method,
        calibrate=calibrate,
        codebook_dtype=dtype,
        coding=coding,
        device=resolve_device(settings.device),
    )


def _method(settings: Settings) -> tuple[str | None, str | None]:
    """The method, and what it is calibrated on; None where that depends on the checkpoint."""
    method, calibrate = settings.method, settings.calibrate
    if calibrate is not None and not calibrate.strip():
        raise MomosError(f"--calibrate is empty; give data, {SYNTHETIC} or {NO_CALIBRATION}")
    if settings.protocol == "paper":
        method = "random"
    if method is not None and not get_method(method).reads_network:
        if calibrate not in (None, NO_CALIBRATION):
            raise MomosError(f"--calibrate {calibrate} is for --method {HESSIAN}, and {method} looks at weights alone")
        return method, NO_CALIBRATION
    if calibrate == NO_CALIBRATION:
        if method is not None:
            raise MomosError(f"--method {method} needs calibration inputs: --calibrate DATA, or synthetic")
        return default_method(), calibrate
    return (method or HESSIAN if calibrate is not None else method), calibrate


def _calibrated(checkpoint: Checkpoint, settings: Settings) -> Settings:
    """The same settings with the method and the calibration decided for this checkpoint."""
    known = checkpoint.architecture is not None
    if settings.calibrate is not None:
        if settings.calibrate != NO_CALIBRATION and not known:
            raise MomosError(
                f"{checkpoint.source} names no architecture, which calibration runs; name one with --arch NAME, or use "
                f"--calibrate {NO_CALIBRATION}"
            )
        return settings
    trained = known and checkpoint.provenance.get("pretrained", True)
    statistics = any(info.name.endswith("running_var") for info in checkpoint.tensors.infos)
    images = checkpoint.architecture is not None and checkpoint.architecture.library == "timm"
    if trained and statistics and images:
        return dataclasses.replace(settings, method=settings.method or HESSIAN, calibrate=SYNTHETIC)
    if settings.method is not None:
        raise MomosError(
            f"--method {settings.method} needs calibration inputs, and {checkpoint.source} has no trained batch norms "
            "to make them from; use --calibrate DATA"
        )
    return dataclasses.replace(settings, method=default_method(), calibrate=NO_CALIBRATION)


def resolve_device(device: Device) -> Device:
    """ "auto" -> "cuda" where torch sees a GPU, else "cpu"; MomosError for anything that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise MomosError("torch sees no CUDA device; use --device cpu, or auto")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def plan(checkpoint: Checkpoint, settings: Settings) -> Plan:
    """Choose tensors, count blocks and motifs; raises MomosError for what cannot be."""
    problem = faiss_problem() if settings.method is None and settings.protocol == "default" else None
    settings = _calibrated(checkpoint, resolve(settings))
    selection = select(
        checkpoint, s=settings.s, include=settings.include, exclude=settings.exclude, protocol=settings.protocol
    )
    if problem:
        selection = dataclasses.replace(selection, warnings=(*selection.warnings, problem))
    blocks = _blocks(selection, settings)
    if settings.k is not None:
        if settings.k > blocks:
            warning = f"k = {settings.k:,} is more than the {blocks:,} blocks; {blocks:,} motifs hold each of them"
            selection = dataclasses.replace(selection, warnings=(*selection.warnings, warning))
        k = min(settings.k, blocks)
    else:
        # The paper counts the blocks of flattened tensors; cut by rows there are a few more.
        k = motifs_for_capacity(settings.c or 0, selection.blocks(settings.s))
    check_motif_count(k)
    wanted = max(0, k - settings.zero_motif)
    sampled = wanted if METHODS[str(settings.method)].draws else sample_size(blocks, k)
    parameters = sum(info.values for info in checkpoint.tensors.infos if info.name not in checkpoint.buffers)
    return Plan(settings, selection, parameters, blocks, k, sampled)


def _blocks(selection: Selection, settings: Settings) -> int:
    """Blocks as the tensors will be cut."""
    if settings.protocol == "paper":
        return selection.blocks(settings.s)
    return sum(
        row_layout(info.shape).count(info.values, settings.s)
        if METHODS[str(settings.method)].reads_network or fills_rows(info, settings.s)
        else count_blocks(info.values, settings.s)
        for info in selection.chosen
    )


def output_path(checkpoint: Checkpoint, output: str | Path | None) -> Path:
    """Where the file goes: ``NAME.momos.safetensors`` here by default. Refuses to overwrite its own source."""
    path = Path(output).expanduser() if output else Path(f"{checkpoint.name}.momos.safetensors")
    check_writable(path)
    for file in (*checkpoint.files, *(i for f in checkpoint.files for i in f.parent.glob("*.index.json"))):
        if path.exists() and path.samefile(file):
            raise MomosError(f"the output {str(path)!r} is the input; choose another name with -o")
    return path
