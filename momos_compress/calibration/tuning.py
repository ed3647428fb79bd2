"""Tuning what is stored beside the mosaic, norms and biases, so that outputs match the original's without labels.

Images are seen shifted and mixed in pairs, anew at each step, and both networks see the same (Beyer et al. 2022,
"Knowledge distillation: a good teacher is patient and consistent"): a thousand images are soon learnt by heart.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from momos_compress.data.batches import Inputs, attention_mask, batch_length, split, to_device
from momos_compress.networks.forward import forward
from momos_compress.networks.outputs import output_loss, output_weight

LEARNING_RATE = 1e-3
SHIFT_SHARE = 10
"""Images are shifted by at most this part of their smaller side."""


def varied(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images (n, channels, height, width), shifted alike, mirrored at the edges; every other time mixed in pairs."""
    height, width = images.shape[2:]
    most = min(height, width) // SHIFT_SHARE
    if most:
        down, right = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
        padded = functional.pad(images, (most,) * 4, mode="reflect")
        images = padded[:, :, down : down + height, right : right + width]
    share, mixed = torch.rand(2, generator=generator).tolist()
    if mixed < 0.5:
        others = torch.randperm(len(images), generator=generator).to(images.device)
        images = share * images + (1 - share) * images[others]
    return images


def tune(
    original: nn.Module,
    compressed: nn.Module,
    kept: Sequence[str],
    batches: Sequence[Inputs],
    *,
    epochs: int,
    seed: int,
    device: str,
    at_once: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Train the parameters named ``kept`` of ``compressed`` in place; returns the names of those that changed.

    Adam with a cosine schedule; batch norms keep their running statistics. A loss that is not lower afterwards on the
    same inputs undoes it all. at_once: samples that a backward pass may hold, for memory's sake; a batch of
    more goes in pieces whose gradients add up to its own.
    """
    parameters = dict(compressed.named_parameters(remove_duplicate=False))
    chosen = [name for name in kept if name in parameters]
    if not chosen or epochs < 1:
        return []
    before = {name: parameters[name].detach().clone() for name in chosen}
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    unique = {id(parameters[name]): parameters[name].requires_grad_(True) for name in chosen}
    with torch.inference_mode():
        targets = [forward(original, to_device(batch, device)).cpu() for batch in batches]
    start = _loss(compressed, batches, targets, device)
    images = all(isinstance(batch, torch.Tensor) and batch.ndim == 4 for batch in batches)
    optimiser = torch.optim.Adam(unique.values(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(batches))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for i in torch.randperm(len(batches), generator=generator).tolist():
            inputs, target = to_device(batches[i], device), targets[i]
            if images and isinstance(inputs, torch.Tensor):
                inputs = varied(inputs, generator)
                with torch.no_grad():
                    target = forward(original, inputs)
            target = target.clone().to(device)
            whole = output_weight(target, attention_mask(inputs))
            optimiser.zero_grad()
            for piece, wanted in zip(split(inputs, at_once), split(target, at_once), strict=True):
                assert isinstance(wanted, torch.Tensor)
                mask = attention_mask(piece)
                loss = output_loss(forward(compressed, piece), wanted, mask) * (output_weight(wanted, mask) / whole)
                if not loss.requires_grad:  # the outputs depend on none of them
                    return []
                loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            progress(batch_length(batches[i]))
    if not _loss(compressed, batches, targets, device) < start:
        with torch.no_grad():
            for name, value in before.items():
                parameters[name].copy_(value)
        return []
    return [name for name in chosen if not torch.equal(parameters[name], before[name])]


def _loss(model: nn.Module, batches: Sequence[Inputs], targets: Sequence[torch.Tensor], device: str) -> float:
    total = 0.0
    with torch.inference_mode():
        for batch, target in zip(batches, targets, strict=True):
            inputs = to_device(batch, device)
            loss = output_loss(forward(model, inputs), target.to(device), attention_mask(inputs))
            total += float(loss) * batch_length(batch)
    return total
