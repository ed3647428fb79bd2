"""Optimiser and learning rates of a run."""

from typing import Any

import torch

from momos_compress.errors import MomosError, one_line
from momos_compress.finetuning.settings import FinetuneSettings

WARMUP_SHARE = 5
"""Warm-up ends after this part of all steps at the latest: a fifth."""


def make_optimiser(groups: list[dict[str, Any]], settings: FinetuneSettings) -> torch.optim.Optimizer:
    """Make the optimiser of timm's that ``settings`` name.

    Args:
        groups: Parameters as torch takes them, each group with its learning rate ("lr").
        settings: Choices of the training, resolved.

    Raises:
        MomosError: if there is no optimiser of this name, or the package that it lies in is not installed.
    """
    from timm.optim import create_optimizer_v2

    name = settings.optimiser
    assert name is not None  # resolved settings name one
    extra = {"betas": settings.betas} if "adam" in name else {}
    try:
        optimiser: torch.optim.Optimizer = create_optimizer_v2(
            groups, opt=name, lr=settings.learning_rate, weight_decay=settings.weight_decay, **extra
        )
    except Exception as error:  # timm's optimisers raise what they like where they, or a package, are not there
        raise MomosError(
            f"`optimiser` {name!r} cannot be had ({one_line(error, 120)}); name one of timm's, such as adam"
        ) from error
    return optimiser


def make_schedule(optimiser: torch.optim.Optimizer, settings: FinetuneSettings, updates: int) -> Any:
    """Make timm's cosine schedule with a warm-up from zero.

    Args:
        optimiser: Its learning rates are scheduled.
        settings: Choices of the training.
        updates: Steps of the optimiser in an epoch.
    """
    from timm.scheduler import create_scheduler_v2

    warmup = min(settings.warmup_steps, settings.epochs * updates // WARMUP_SHARE)
    scheduler, _ = create_scheduler_v2(
        optimiser,
        "cosine",
        settings.epochs,
        warmup_epochs=warmup / updates,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=updates,
    )
    return scheduler
