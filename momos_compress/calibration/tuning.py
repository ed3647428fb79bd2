"""Tuning what is stored beside the mosaic, norms and biases, so that outputs match the original's without labels.

Images are seen shifted and mixed in pairs, anew at each step, and both networks see the same (Beyer et al. 2022,
"Knowledge distillation: a good teacher is patient and consistent"): a thousand images are soon learnt by heart.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from momos_compress.data.batches import Inputs, attention_mask, batch_length, split, to_device
from momos_compress.networks.comparison import gives_classes
from momos_compress.networks.forward import forward
from momos_compress.networks.outputs import mean_loss, output_loss, output_weight

LEARNING_RATE = 1e-3
"""Of Adam, at the start of a cosine schedule."""
LEARNING_RATE_OF_LEVELS = 3e-4
"""The same where motifs are levels, which leave less to make good."""
LARGEST_SHIFT = 10
"""The smaller side of an image over the most that images are shifted by."""


def varied(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images shifted alike, mirrored at the edges, and every other time mixed in pairs.

    Args:
        images: (n, channels, height, width).
        generator: Draws the shift, the shares and the pairs; on the CPU.

    Returns:
        Of the same shape.
    """
    height, width = images.shape[2:]
    most = min(height, width) // LARGEST_SHIFT
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
    learning_rate: float = LEARNING_RATE,
    loss: Callable[[nn.Module], float] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Train parameters of the compressed network in place: Adam with a cosine schedule.

    Batch norms keep their running statistics. A loss that is not lower afterwards undoes it all.

    Args:
        original: The network whose outputs are matched.
        compressed: The network that is trained.
        kept: Names of the parameters that may change; names of none are passed over.
        batches: Inputs, on the CPU; batches of images vary from step to step.
        epochs: How often each batch is seen.
        seed: Of the order of batches, and of how images vary.
        device: Where both networks are.
        at_once: Samples that a backward pass may hold, for memory's sake; a batch of more goes in pieces whose
            gradients add up to its own.
        learning_rate: Of Adam, at the start.
        loss: Tells how far the compressed network's outputs are from the original's; None measures it on the inputs.
        progress: Told the samples done since the last call.

    Returns:
        Names of the parameters that changed, in the order of ``kept``.
    """
    parameters = dict(compressed.named_parameters(remove_duplicate=False))
    chosen = [name for name in kept if name in parameters]
    if not chosen or epochs < 1:
        return []
    before = {name: parameters[name].detach().clone() for name in chosen}
    trained = _only_trainable(parameters, chosen)
    scores = gives_classes(original) or None
    if loss is None:
        loss = partial(mean_loss, original, batches=batches, device=device, scores=scores)
    start = loss(compressed)
    images = all(isinstance(batch, torch.Tensor) and batch.ndim == 4 for batch in batches)
    optimiser = torch.optim.Adam(trained, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(batches))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for i in torch.randperm(len(batches), generator=generator).tolist():
            inputs = to_device(batches[i], device)
            if images:
                assert isinstance(inputs, torch.Tensor)
                inputs = varied(inputs, generator)
            with torch.no_grad():
                target = forward(original, inputs)
            optimiser.zero_grad()
            if not _add_gradients(compressed, inputs, target, at_once, scores):
                return []
            optimiser.step()
            schedule.step()
            progress(batch_length(batches[i]))
    if not loss(compressed) < start:
        _restore(parameters, before)
        return []
    return [name for name in chosen if not torch.equal(parameters[name], before[name])]


def _only_trainable(parameters: Mapping[str, nn.Parameter], chosen: Iterable[str]) -> list[torch.Tensor]:
    """Let only the chosen parameters have gradients; gives them, tied ones once."""
    for parameter in parameters.values():
        parameter.requires_grad_(False)
    unique = {id(parameters[name]): parameters[name].requires_grad_(True) for name in chosen}
    return list(unique.values())


def _restore(parameters: Mapping[str, nn.Parameter], values: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value)


def _add_gradients(
    model: nn.Module, inputs: Inputs, target: torch.Tensor, at_once: int | None, scores: bool | None
) -> bool:
    """Add the gradients of a batch's loss, piece by piece; False where nothing that is trained has any."""
    whole = output_weight(target, attention_mask(inputs), scores=scores)
    for piece, wanted in zip(split(inputs, at_once), split(target, at_once), strict=True):
        assert isinstance(wanted, torch.Tensor)
        mask = attention_mask(piece)
        share = output_weight(wanted, mask, scores=scores) / whole
        loss = output_loss(forward(model, piece), wanted, mask, scores=scores) * share
        if not loss.requires_grad:
            return False
        loss.backward()  # type: ignore[no-untyped-call]
    return True
