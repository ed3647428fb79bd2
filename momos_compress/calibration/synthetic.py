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


_Seen = tuple[Any, torch.Tensor, torch.Tensor]
"""A batch norm, and the mean and variance (channels,) of what enters it."""


class BatchNormMatch:
    """Trains images to the statistics of a network's batch norms.

    Args:
        model: The network, with batch norms and on the device of the images; left as it was.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model, self.norms = model, batch_norms(model)

    def train(
        self,
        images: torch.Tensor,
        steps: int,
        progress: Callable[[int], None] = lambda done: None,
        *,
        at_once: int | None = None,
    ) -> torch.Tensor:
        """Train images together.

        Args:
            images: (n, channels, height, width) as the network takes them; not changed.
            steps: Steps of Adam.
            progress: Told the steps done since the last call, times images.
            at_once: Images that a pass may hold; all by default. With fewer a step takes a pass more, to see the
                statistics of all, and its gradients are the same.

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
        with _frozen(self.model), self._watched() as seen:
            for _ in range(steps):
                variation = images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()
                optimiser.zero_grad()
                if at_once is None or at_once >= len(images):
                    seen.clear()
                    forward(self.model, images)
                    loss = _mismatch(seen) + VARIATION * variation
                else:
                    self._pull(images, at_once, seen)
                    loss = VARIATION * variation
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
                progress(len(images))
        return images.detach()

    def _pull(self, images: torch.Tensor, at_once: int, seen: list[_Seen]) -> None:
        """Add the gradients of the mismatch of all images, a few at a time.

        Samples do not meet in a network that evaluates, so the mismatch depends on a piece through its share of the
        means alone.
        """
        pieces = [slice(start, start + at_once) for start in range(0, len(images), at_once)]
        sums: list[torch.Tensor] = []
        with torch.no_grad():
            for piece in pieces:
                seen.clear()
                forward(self.model, images[piece])
                parts = [len(images[piece]) / len(images) * mean for mean in _means(seen)]
                sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
        leaves = [tensor.requires_grad_(True) for tensor in sums]
        whole = [
            (norm, mean, (square - mean.square()).clamp(min=0))
            for (norm, _, _), mean, square in zip(seen, leaves[::2], leaves[1::2], strict=True)
        ]
        slopes = torch.autograd.grad(_mismatch(whole), leaves)
        for piece in pieces:
            seen.clear()
            forward(self.model, images[piece])
            share = len(images[piece]) / len(images)
            terms = [(slope * own).sum() for slope, own in zip(slopes, _means(seen), strict=True)]
            (share * torch.stack(terms).sum()).backward()  # type: ignore[no-untyped-call]

    @contextmanager
    def _watched(self) -> Iterator[list[_Seen]]:
        """Collect what enters each batch norm in a forward pass."""
        seen: list[_Seen] = []

        def hook(module: Any, args: Any) -> None:
            seen.append((module, *channel_moments(args[0])))

        with ExitStack() as stack:
            for module in self.norms.values():
                stack.callback(module.register_forward_pre_hook(hook).remove)
            yield seen


def _means(seen: list[_Seen]) -> list[torch.Tensor]:
    """The means of values and of their squares, one after the other for each norm: they add up over pieces."""
    return [tensor for _, mean, variance in seen for tensor in (mean, variance + mean.square())]


def _mismatch(seen: list[_Seen]) -> torch.Tensor:
    """How far means and variances are from what batch norms keep: the sum of their means over channels."""
    losses = []
    for norm, mean, variance in seen:
        wanted = norm.running_var.clamp(min=1e-8)
        gap = (mean - norm.running_mean).square() / wanted
        losses.append((gap + ((variance / wanted + 1e-8).sqrt() - 1).square()).mean())
    return torch.stack(losses).sum()


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
