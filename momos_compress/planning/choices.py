"""The choices of a run: settings that leave some open, checked and then decided for one checkpoint."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from momos_compress.coding.registry import get_coding
from momos_compress.common.device import resolve_device
from momos_compress.errors import MomosError
from momos_compress.fitting.methods import HESSIAN, default_method, get_method
from momos_compress.mosaic.blocks import check_motif_count
from momos_compress.planning.steps import read_steps
from momos_compress.settings import (
    DEFAULT_C,
    DEFAULT_RATE_WEIGHT,
    DEFAULT_S,
    NO_CALIBRATION,
    SYNTHETIC,
    CodebookDtype,
    Effort,
    Passthrough,
    Protocol,
    Settings,
    check_settings,
)
from momos_compress.sources.checkpoint import Checkpoint

LEVELS_RATE_WEIGHT = 1.0
"""What a bit counts beside output error where motifs are levels: as much as a finer step would buy."""
PAPER_METHOD = "random"
"""How the paper's protocol finds its motifs."""

GivenOrMeasured: TypeAlias = CodebookDtype | None
"""A dtype that was asked for, or None: the fit measures what int8 would cost and takes float16 where that is much."""


@dataclass(frozen=True)
class Choices:
    """Every choice of one run, made; the names are those of ``Settings``.

    Attributes:
        c: Capacity, motifs over blocks; None where ``k`` was asked for.
        k: Number of motifs asked for; None where ``c`` decides it.
        bits: Bits of the file for each weight, where motifs are levels; None where ``c`` or ``k`` counts motifs.
        s: Values in a block.
        method: How motifs are found, a name in ``METHODS``.
        calibrate: Data that motifs are fitted to, "synthetic" or "none".
        protocol: "default", or "paper" for the scheme of the Mosaic-of-Motifs paper.
        zero_motif: Whether one motif is zero.
        codebook_dtype: Dtype that motifs are stored in, or None where measurement decides.
        passthrough: Whether tensors beside the mosaic may be stored in fewer bits.
        include: Patterns that name exactly the tensors to take; none: the default selection.
        exclude: Patterns that name tensors to leave alone.
        seed: Seed of every random draw.
        device: Where torch computes.
        bdm: Whether complexity is measured.
        coding: How indices are stored.
        samples: Calibration samples asked for; None: as many as the kind of data has by default.
        rate_weight: What a bit of the file counts beside output error.
        exceptions: Whether weights whose errors would cost more than their bytes may be stored as they are.
        effort: How long a calibrated fit may take where ``time_limit`` is None.
        time_limit: Seconds that it may take.
        steps: Numbers of its steps that no time limit changes, as ``read_steps`` takes them.
    """

    c: float | None
    k: int | None
    bits: float | None
    s: int
    method: str
    calibrate: str
    protocol: Protocol
    zero_motif: bool
    codebook_dtype: GivenOrMeasured
    passthrough: Passthrough
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    seed: int
    device: Literal["cpu", "cuda"]
    bdm: bool
    coding: str
    samples: int | None
    rate_weight: float
    exceptions: bool
    effort: Effort
    time_limit: float | None
    steps: str | None

    def as_settings(self) -> Settings:
        """Settings that ask for exactly these choices."""
        return Settings(**vars(self))


def check_compression(settings: Settings) -> None:
    """Check everything that can be checked before a checkpoint is read.

    Raises:
        MomosError: if a value is out of range, unknown, or does not go with another one.
    """
    check_settings(settings)
    if settings.c is not None and settings.k is not None:
        raise MomosError("give either `c` or `k`, not both: k = c times the number of blocks")
    if settings.bits is not None:
        for name in ("c", "k"):
            if getattr(settings, name) is not None:
                raise MomosError(f"give either `bits` or `{name}`: `bits` takes as many levels as it needs")
        if settings.s not in (None, 1):
            raise MomosError(f"`bits` is for motifs of one value; drop `s={settings.s}`, or use `c` or `k`")
        if settings.protocol == "paper":
            raise MomosError("`bits` is not for `protocol='paper'`, which counts motifs; use `c` or `k`")
    if settings.protocol == "paper" and settings.method not in (None, PAPER_METHOD):
        raise MomosError(f"`protocol='paper'` draws its motifs at random; drop `method={settings.method!r}`")
    _method_of(settings)
    get_coding(_coding(settings))
    read_steps(settings.steps)
    if settings.k is not None:
        check_motif_count(settings.k)
    resolve_device(settings.device)


DEFAULT_BITS = {"high": 4.5, "balanced": 3.5, "small": 2.75}
"""Bits for each weight by quality, where neither these nor motifs are counted."""


def choose(checkpoint: Checkpoint, settings: Settings) -> Choices:
    """Make every choice that ``settings`` leave open.

    Raises:
        MomosError: if a setting is wrong, or cannot be had with this checkpoint.
    """
    check_compression(settings)
    method, calibrate = _calibrated(checkpoint, settings)
    bits = _bits(settings, method)
    return Choices(
        c=DEFAULT_C if settings.c is None and settings.k is None and bits is None else settings.c,
        k=settings.k,
        bits=bits,
        s=settings.s or (DEFAULT_S if bits is None else 1),
        method=method,
        calibrate=calibrate,
        protocol=settings.protocol,
        zero_motif=settings.zero_motif,
        codebook_dtype=_codebook_dtype(settings),
        passthrough=settings.passthrough,
        include=settings.include,
        exclude=settings.exclude,
        seed=settings.seed,
        device=resolve_device(settings.device),
        bdm=settings.bdm,
        coding="spread" if bits is not None and settings.coding is None else _coding(settings),
        samples=settings.samples,
        rate_weight=_rate_weight(settings, bits),
        exceptions=settings.exceptions,
        effort=settings.effort,
        time_limit=settings.time_limit,
        steps=settings.steps,
    )


def _codebook_dtype(settings: Settings) -> GivenOrMeasured:
    if settings.codebook_dtype is None and settings.protocol == "paper":
        return "float32"
    return settings.codebook_dtype


def _bits(settings: Settings, method: str) -> float | None:
    """Bits for each weight where motifs are levels: what was asked for, or what suits where nothing counts motifs."""
    if settings.bits is not None:
        if method != HESSIAN:
            raise MomosError(
                "`bits` shares them out by what the network computes, and no network is run; use `c` or `k`, or "
                "`calibrate='DATA'`",
                setting="bits",
            )
        return settings.bits
    counted = settings.c is not None or settings.k is not None or settings.s is not None
    if method != HESSIAN or counted or settings.protocol == "paper":
        return None
    return DEFAULT_BITS[settings.quality]


def _rate_weight(settings: Settings, bits: float | None) -> float:
    if settings.rate_weight is not None:
        return settings.rate_weight
    return DEFAULT_RATE_WEIGHT if bits is None else LEVELS_RATE_WEIGHT


def _coding(settings: Settings) -> str:
    if settings.coding is not None:
        return settings.coding
    return "packed" if settings.protocol == "paper" else "ans"


def _method_of(settings: Settings) -> tuple[str, str] | None:
    """Method and calibration as far as settings alone decide them; None where the checkpoint does."""
    method, calibrate = settings.method, settings.calibrate
    if calibrate is not None and not calibrate.strip():
        raise MomosError(f"`calibrate` is empty; give data, {SYNTHETIC} or {NO_CALIBRATION}")
    if settings.protocol == "paper":
        method = PAPER_METHOD
    if method is not None and not get_method(method).reads_network:
        if calibrate not in (None, NO_CALIBRATION):
            raise MomosError(
                f"`calibrate={calibrate!r}` is for `method={HESSIAN!r}`, and {method} looks at weights alone"
            )
        return method, NO_CALIBRATION
    if calibrate == NO_CALIBRATION:
        if method is not None:
            raise MomosError(f"`method={method!r}` needs calibration inputs: `calibrate='DATA'`, or {SYNTHETIC}")
        return default_method(), NO_CALIBRATION
    return None if calibrate is None else (method or HESSIAN, calibrate)


def _calibrated(checkpoint: Checkpoint, settings: Settings) -> tuple[str, str]:
    """Method and calibration for this checkpoint: made-up inputs for every trained network that can be built."""
    decided, architecture = _method_of(settings), checkpoint.architecture
    if decided is not None:
        if decided[1] != NO_CALIBRATION and architecture is None:
            raise MomosError(
                f"{checkpoint.source} names no architecture, which calibration runs; name one with `arch='NAME'`, or "
                f"use `calibrate={NO_CALIBRATION!r}`"
            )
        return decided
    if architecture is not None and checkpoint.provenance.get("pretrained", True):
        return settings.method or HESSIAN, SYNTHETIC
    if settings.method is not None:
        lacks = "names no architecture" if architecture is None else "has random weights"
        raise MomosError(
            f"`method={settings.method!r}` needs calibration inputs, and {checkpoint.source} {lacks} to make them for; "
            "use `calibrate='DATA'`"
        )
    return default_method(), NO_CALIBRATION
