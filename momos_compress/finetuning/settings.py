"""What a training run may be asked for. Imports nothing heavy, so that the command line can show its defaults."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal, get_args

from momos_compress.errors import MomosError
from momos_compress.settings import Device

Mode = Literal["codebook", "paper"]
Loss = Literal["distil", "labels", "both"]
Augment = Literal["auto", "none", "shift", "shift-flip", "crop"]
BatchNorm = Literal["fixed", "running"]
Topology = Literal["random", "regular", "banded"]

FULL = 32
"""Bits of a weight that is not rounded."""
LABELS_SHARE = 0.5
"""Of the loss where labels and a teacher are both learnt from."""


@dataclass(frozen=True)
class FinetuneSettings:
    """One run's choices; the one home of their defaults.

    mode: codebook trains motifs, scales, norms and biases under a fixed mosaic; paper trains all weights freely and
    projects them onto randomly drawn motifs after each epoch. loss None: distil where there is a teacher, else, and in
    mode paper, labels. learning_rate: of motifs, in units of a row's RMS, 6e-3; in mode paper of all weights, 1e-2.
    norm_learning_rate: of norms and biases; scale_learning_rate: of scales, in eighths of an octave. optimiser: a name
    of timm's, adam; in mode paper momentum, which is SGD with momentum 0.9. batch_norm: whether running statistics are
    used and stay, or batches' own; fixed, in mode paper running. validation: share of the samples held out, where no
    validation data are named. save_every: optimiser steps between checkpoints within an epoch, 0 for none. complexity:
    measure weights after every epoch. tracker: tensorboard or wandb. topology: random, regular or banded, with
    ``density`` of the blocks of every weight: the others are zero from the first step on; in mode paper. q: bits that
    weights are rounded to in every pass, 32 for none; in mode paper.
    """

    mode: Mode = "codebook"
    epochs: int = 1
    batch_size: int = 128
    accumulate: int = 1
    loss: Loss | None = None
    temperature: float = 2.0
    smoothing: float = 0.0
    learning_rate: float | None = None
    norm_learning_rate: float = 4e-3
    scale_learning_rate: float = 4e-2
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 20
    weight_decay: float = 0.0
    optimiser: str | None = None
    batch_norm: BatchNorm | None = None
    augment: Augment = "auto"
    validation: float = 0.05
    bfloat16: bool = False
    workers: int = 0
    save_every: int = 200
    complexity: bool = False
    topology: Topology | None = None
    density: float = 0.1
    q: int = FULL
    tracker: str | None = None
    seed: int = 0
    device: Device = "auto"

    def resolved(self) -> "FinetuneSettings":
        """The same settings with every choice made and checked; MomosError names the first value out of range."""
        paper = self.mode == "paper"
        settings = dataclasses.replace(
            self,
            learning_rate=(1e-2 if paper else 6e-3) if self.learning_rate is None else self.learning_rate,
            optimiser=self.optimiser or ("momentum" if paper else "adam"),
            batch_norm=self.batch_norm or ("running" if paper else "fixed"),
        )
        settings._check()
        return settings

    def _check(self) -> None:
        for option, choices in (
            ("mode", Mode),
            ("loss", Loss),
            ("augment", Augment),
            ("batch_norm", BatchNorm),
            ("topology", Topology),
        ):
            value = getattr(self, option)
            if value is not None and value not in get_args(choices):
                raise MomosError(f"unknown {_flag(option)} {value!r}; choose from {', '.join(get_args(choices))}")
        for option, least in (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("workers", 0), ("save_every", 0)):
            _at_least(option, getattr(self, option), least)
        _at_least("warmup_steps", self.warmup_steps, 0)
        for option in ("temperature", "learning_rate", "norm_learning_rate", "scale_learning_rate"):
            value = getattr(self, option)
            if not (math.isfinite(value) and value > 0):
                raise MomosError(f"{_flag(option)} must be positive, not {value:g}")
        if not 0 <= self.smoothing < 1:
            raise MomosError(f"--smoothing must lie in [0, 1), not {self.smoothing:g}")
        if not 0 < self.validation < 1:
            raise MomosError(f"--validation must be a share between 0 and 1 or data, not {self.validation:g}")
        if not self.weight_decay >= 0:
            raise MomosError(f"--weight-decay must not be negative, and is {self.weight_decay:g}")
        if self.topology is not None:
            if not 0 < self.density <= 1:
                raise MomosError(f"--density must lie in (0, 1], not {self.density:g}: the share of blocks not zero")
            if self.mode != "paper":
                raise MomosError("--topology is fixed before weights are trained: it goes with --mode paper")
        if not 2 <= self.q <= FULL:
            raise MomosError(f"--q must lie between 2 and {FULL} bits, not {self.q}; {FULL} rounds nothing")
        if self.q < FULL and self.mode != "paper":
            raise MomosError("--q rounds weights that train freely: it goes with --mode paper")
        if not 0 <= self.seed < 2**63:
            raise MomosError(f"the seed must not be negative, nor 2^63 or more, and is {self.seed}")


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise MomosError(f"{_flag(option)} must be at least {least}, not {value}")
