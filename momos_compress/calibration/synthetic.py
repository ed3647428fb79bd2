"""Calibration inputs out of a network's batch norms, where there is no data (ZeroQ, arXiv 2001.00281).

Images start as noise and are trained until the statistics they leave before each batch norm are the running ones.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from momos_compress.calibration.channels import batch_norms, channel_moments
from momos_compress.errors import MomosError
from momos_compress.networks.forward import forward

LEARNING_RATE = 0.1
"""Of Adam on the images' values, at the start of a cosine schedule."""
VARIATION = 0.05
"""Weight of the mean difference of neighbouring values beside the mismatch of statistics: images are smooth."""


def synthetic_images(
    model: nn.Module,
    shape: tuple[int, int, int],
    *,
    count: int,
    steps: int,
    batch: int,
    seed: int,
    device: str,
    progress: Callable[[int], None] = lambda done: None,
) -> torch.Tensor:
    """Images, as the network takes them, that match its batch norms' statistics.

    Args:
        model: The network, on ``device``; left as it was.
        shape: (channels, height, width) of one image.
        count: Images to make.
        steps: Steps of Adam on each batch.
        batch: Images that are trained together.
        seed: Of the noise that images start from.
        device: Where the network is.
        progress: Told the steps done since the last call, times images.

    Returns:
        (count, channels, height, width) float32 on the CPU.

    Raises:
        MomosError: The network has no batch norms, or fails on the images.
    """
    norms = batch_norms(model)
    if not norms:
        raise MomosError(
            f"`calibrate='synthetic'` needs batch norms, and {type(model).__name__} has none; give data, or use "
            "`calibrate='none'`"
        )
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    out = []
    try:
        for start in range(0, count, batch):
            images = torch.randn(min(batch, count - start), *shape, generator=generator).to(device)
            out.append(_matched(model, images, norms, steps, progress).cpu())
    finally:
        for parameter, before in zip(model.parameters(), trainable, strict=True):
            parameter.requires_grad_(before)
    return torch.cat(out)


def _matched(
    model: nn.Module, images: torch.Tensor, norms: dict[str, Any], steps: int, progress: Callable[[int], None]
) -> torch.Tensor:
    """Train one batch of images in place."""
    images.requires_grad_(True)
    optimiser = torch.optim.Adam([images], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    losses: list[torch.Tensor] = []

    def hook(module: Any, args: Any) -> None:
        mean, variance = channel_moments(args[0])
        wanted = module.running_var.clamp(min=1e-8)
        gap = (mean - module.running_mean).square() / wanted
        losses.append((gap + ((variance / wanted + 1e-8).sqrt() - 1).square()).mean())

    with ExitStack() as stack:
        for module in norms.values():
            stack.callback(module.register_forward_pre_hook(hook).remove)
        for _ in range(steps):
            losses.clear()
            forward(model, images)
            variation = images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
            optimiser.zero_grad()
            (torch.stack(losses).sum() + VARIATION * variation).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            progress(len(images))
    return images.detach()
