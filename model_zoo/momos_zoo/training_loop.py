"""The training of one run: its settings, its steps, and its figures on images."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn
from torch.nn import functional

from momos_compress.errors import MomosError
from momos_zoo.training_data import TASKS, Images, augment, normalise


@dataclass(frozen=True)
class RunSettings:
    """One run's choices.

    Attributes:
        task: A name of ``TASKS``.
        weights: "binary" binarises every convolution and linear layer.
        seed: Draws the initial weights, the order of the images and their augmentation.
        data: Name of the training data.
        epochs: Passes over the training images.
        images: Images to train on.
        checkpoints: Checkpoints to keep.
        batch_size: Images of a step.
        learning_rate: The highest of the cosine schedule.
        weight_decay: AdamW's.
    """

    task: str
    weights: Literal["float", "binary"]
    seed: int
    data: str
    epochs: int
    images: int
    checkpoints: int = 20
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05

    @property
    def name(self) -> str:
        """The run's directory."""
        return f"{self.task}-{self.weights}-seed{self.seed}"


def steps_per_epoch(settings: RunSettings) -> int:
    """Whole batches in an epoch: what is left over waits for the next epoch's order. Fewer images than one make one."""
    return max(1, settings.images // settings.batch_size)


def checkpoint_steps(total: int, checkpoints: int) -> list[int]:
    """Step 0, the last step and others that are denser early: ``checkpoints`` in all, or every step if those are fewer.

    The i-th lies at (i / n) ** 2.5 of the run. Geometric spacing would put half of them into the first fifteen steps,
    where the loss in eval mode falls mostly because BatchNorm's running statistics leave their initial values.
    """
    last = checkpoints - 1
    steps = [0]
    for i in range(1, checkpoints):
        steps.append(min(total, max(steps[-1] + 1, round(total * (i / last) ** 2.5))))
    return sorted(set(steps))


def cross_entropy(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of normalised images (n, c, h, w) with targets (n,)."""
    return functional.cross_entropy(model(images), targets)


def optimise(
    model: nn.Module,
    train: Images,
    settings: RunSettings,
    mean: Tensor,
    std: Tensor,
    loss_fn: Callable[[nn.Module, Tensor, Tensor], Tensor] = cross_entropy,
) -> Iterator[int]:
    """Train the model in place.

    Yields:
        The number of steps done, after each.

    Raises:
        MomosError: A loss is not finite.
    """
    task, generator = TASKS[settings.task], torch.Generator().manual_seed(settings.seed)
    per_epoch = steps_per_epoch(settings)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=settings.learning_rate, weight_decay=settings.weight_decay)
    scheduler, _ = create_scheduler_v2(
        optimizer, "cosine", settings.epochs, warmup_epochs=1, step_on_epochs=False, updates_per_epoch=per_epoch
    )
    model.train()
    for step in range(settings.epochs * per_epoch):
        if step % per_epoch == 0:
            batches = torch.split(torch.randperm(len(train.targets), generator=generator), settings.batch_size)
        batch = batches[step % per_epoch]
        pixels = augment(train.pixels[batch], task.shift, task.flip, generator)
        loss = loss_fn(model, normalise(pixels, mean, std), train.targets[batch])
        if not math.isfinite(loss.item()):
            raise MomosError(f"{settings.name}: the training loss is {loss.item()} in step {step + 1}")
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        scheduler.step_update(step + 1)
        yield step + 1


@torch.inference_mode()
def measure(model: nn.Module, images: Images, mean: Tensor, std: Tensor) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in per cent, in eval mode; the model's own mode comes back."""
    training, loss, hits = model.training, 0.0, 0
    model.eval()
    for pixels, targets in zip(torch.split(images.pixels, 250), torch.split(images.targets, 250), strict=True):
        logits = model(normalise(pixels, mean, std))
        loss += float(functional.cross_entropy(logits, targets, reduction="sum"))
        hits += int((logits.argmax(dim=1) == targets).sum())
    model.train(training)
    return loss / len(images.targets), 100 * hits / len(images.targets)
