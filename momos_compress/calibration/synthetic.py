"""Calibration inputs out of a network's batch norms, where there is no data (ZeroQ, arXiv 2001.00281).

Images are trained until the statistics they leave before each batch norm are the running ones.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from momos_compress.calibration.channels import batch_norms, channel_moments
from momos_compress.networks.forward import forward

LEARNING_RATE = 0.03
"""Of Adam on the images' values, at the start of a cosine schedule."""
VARIATION = 0.05
"""Weight of the mean difference of neighbouring values beside the mismatch of statistics: images are smooth."""


class BatchNormMatch:
    """Trains images to the statistics of a network's batch norms.

    Args:
        model: The network, with batch norms and on the device of the images; left as it was.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.norms = model, batch_norms(model)

    def train(
        self, images: torch.Tensor, steps: int, progress: Callable[[int], None] = lambda done: None
    ) -> torch.Tensor:
        """Train images together.

        Args:
            images: (n, channels, height, width) as the network takes them; not changed.
            steps: Steps of Adam.
            progress: Told the steps done since the last call, times images.

        Returns:
            The trained images.

        Raises:
            MomosError: The network fails on the images.
        """
        if not steps:
            return images
        images = images.clone().requires_grad_(True)
        optimiser = torch.optim.Adam([images], lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        with _frozen(self.model), self._watched() as losses:
            for _ in range(steps):
                losses.clear()
                forward(self.model, images)
                variation = images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
                optimiser.zero_grad()
                (torch.stack(losses).sum() + VARIATION * variation).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                progress(len(images))
        return images.detach()

    @contextmanager
    def _watched(self) -> Iterator[list[torch.Tensor]]:
        """Collect each batch norm's mismatch in a forward pass."""
        losses: list[torch.Tensor] = []

        def hook(module: Any, args: Any) -> None:
            mean, variance = channel_moments(args[0])
            wanted = module.running_var.clamp(min=1e-8)
            gap = (mean - module.running_mean).square() / wanted
            losses.append((gap + ((variance / wanted + 1e-8).sqrt() - 1).square()).mean())

        with ExitStack() as stack:
            for module in self.norms.values():
                stack.callback(module.register_forward_pre_hook(hook).remove)
            yield losses


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Take no gradients of parameters."""
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    try:
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, before in zip(model.parameters(), trainable, strict=True):
            parameter.requires_grad_(before)
