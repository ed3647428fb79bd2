"""What a training run may be asked for. Imports nothing heavy."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from momos_compress.errors import MomosError
from momos_compress.settings import Device, check_settings, seed_setting, setting

Mode = Literal["codebook", "paper"]
Loss = Literal["distil", "labels", "both"]
Augment = Literal["auto", "none", "shift", "shift-flip", "crop"]
BatchNorm = Literal["fixed", "running"]
Topology = Literal["random", "regular", "banded"]

FULL = 32
"""Bits of a weight that is not rounded."""
LABELS_SHARE = 0.5
"""Weight of the labels in the loss where a teacher is learnt from too."""


@dataclass(frozen=True)
class FinetuneSettings:
    """One training run's choices; a None is decided by ``resolved``.

    Examples:
        >>> import momos_compress as mc
        >>> mc.FinetuneSettings(mode="paper", epochs=5).resolved().optimiser
        'momentum'
    """

    mode: Mode = setting(
        "codebook",
        help="codebook: the mosaic stays, motifs, scales, norms and biases learn; paper: all weights train freely, and "
        "each epoch ends by projecting them onto randomly drawn motifs.",
    )
    epochs: int = setting(1, help="Passes over the training data.", least=1)
    batch_size: int = setting(128, help="Samples in a batch.", least=1)
    accumulate: int = setting(1, help="Batches to a step.", least=1)
    loss: Loss | None = setting(
        None, help="Default: distil where the original network is known, else labels; in mode paper labels."
    )
    temperature: float = setting(2.0, help="Temperature of distillation.", above=0)
    smoothing: float = setting(0.0, help="Smoothing of labels.", least=0, below=1)
    learning_rate: float | None = setting(
        None,
        help="Learning rate of motifs, in units of a row's RMS, default 0.006; in mode paper of all weights, 0.01.",
        above=0,
    )
    norm_learning_rate: float = setting(4e-3, help="Learning rate of norms and biases.", above=0)
    scale_learning_rate: float = setting(
        4e-2, help="Learning rate of the rows' scales, in eighths of an octave.", above=0
    )
    betas: tuple[float, float] = setting(
        (0.9, 0.99), help="Decay of Adam's running means of gradients and of their squares.", least=0, below=1
    )
    warmup_steps: int = setting(20, help="Steps over which the learning rates rise to their values.", least=0)
    weight_decay: float = setting(0.0, help="Weight decay of the optimiser.", least=0)
    optimiser: str | None = setting(
        None, help="A name of timm's. Default adam; in mode paper momentum, which is SGD with momentum 0.9."
    )
    batch_norm: BatchNorm | None = setting(
        None,
        help="Whether running statistics are used and stay (fixed, the default), or those of batches are (running, the "
        "default in mode paper).",
    )
    augment: Augment = setting(
        "auto", help="auto: crops of large images, shifts of small ones, mirrored where in colour."
    )
    validation: float = setting(
        0.05,
        help="Share of the training data that is held out to choose the best epoch by.",
        above=0,
        below=1,
        note="it is a share of the training data; or name data",
    )
    bfloat16: bool = setting(False, help="Matrix products of a step in bfloat16.")
    workers: int = setting(0, help="Processes that decode images.", least=0)
    save_every: int = setting(200, help="Steps between checkpoints in an epoch; 0: only after it.", least=0)
    complexity: bool = setting(False, help="Measure the weights' BDM after every epoch.")
    topology: Topology | None = setting(
        None, help="Mode paper: keep blocks at zero but for a random, regular or banded pattern of them."
    )
    density: float = setting(
        0.1, help="Share of blocks that a topology leaves.", above=0, most=1, note="it is the share of blocks not zero"
    )
    q: int = setting(
        FULL,
        help=f"Mode paper: bits that weights are rounded to in every pass; {FULL}: none.",
        least=2,
        most=FULL,
        note=f"{FULL} rounds nothing",
    )
    tracker: str | None = setting(None, help="Tell metrics to tensorboard or wandb as well.")
    seed: int = seed_setting("Seed of every random draw.")
    device: Device = setting("auto", help="auto takes the GPU where there is one.")

    def resolved(self) -> "FinetuneSettings":
        """The same settings with every choice made.

        Raises:
            MomosError: Names the first value out of bounds, or a pair of settings that exclude each other.
        """
        paper = self.mode == "paper"
        settings = dataclasses.replace(
            self,
            learning_rate=(1e-2 if paper else 6e-3) if self.learning_rate is None else self.learning_rate,
            optimiser=self.optimiser or ("momentum" if paper else "adam"),
            batch_norm=self.batch_norm or ("running" if paper else "fixed"),
        )
        check_settings(settings)
        if settings.topology is not None and not paper:
            raise MomosError(
                "`topology` is fixed before weights are trained: it goes with `mode='paper'`", setting="topology"
            )
        if settings.q < FULL and not paper:
            raise MomosError("`q` rounds weights that train freely: it goes with `mode='paper'`", setting="q")
        return settings
