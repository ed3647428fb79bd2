"""What each compressed tensor alone does to a network's outputs."""

from collections.abc import Iterable

import torch
from torch import nn

from momos_compress.common.progress import Progress, silent
from momos_compress.container.reader import MomosFile
from momos_compress.data.batches import Inputs, attention_mask, batch_length, to_device
from momos_compress.data.draws import CalibrationData, count_samples, open_calibration
from momos_compress.errors import MomosError
from momos_compress.networks.costs import samples_at_once
from momos_compress.networks.forward import forward
from momos_compress.networks.layers import own_names
from momos_compress.networks.outputs import output_loss

SAMPLES = 256
"""Samples where no number is asked for and the data have as many."""

BATCH = 64
"""Samples of a batch at most."""


def sensitivity(
    file: MomosFile,
    original: nn.Module,
    data: str,
    *,
    samples: int | None = None,
    seed: int,
    source: str | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> tuple[dict[str, float], CalibrationData]:
    """Measure the output error that each tensor of a mosaic makes alone.

    Args:
        file: A compressed file.
        original: The network that it was made from, on ``device``; it is as before afterwards.
        data: Inputs without labels: a registered data set, images or texts.
        samples: How many to run; None takes 256, or what there is.
        seed: Decides the draw of samples.
        source: What the network was opened from, for its tokenizer.
        device: Where the network runs.
        progress: Told samples done times tensors, as stage "tensors alone".

    Returns:
        By the file's name of a tensor, ``output_loss`` against the original's outputs; and the inputs used.

    Raises:
        MomosError: The file is not of this network, or the data do not fit it.
    """
    places = _places(file, original)
    if samples is None:
        samples = min(SAMPLES, count_samples(data, original, source=source))
    inputs = open_calibration(data, original, samples=samples, seed=seed, source=source)
    batch = max(1, min(BATCH, samples_at_once(original, to_device(inputs.longest(1), device))))
    batches = inputs.batches(batch)
    return _alone(file, original, places, batches, inputs.samples, device=device, progress=progress), inputs


def _places(file: MomosFile, original: nn.Module) -> dict[str, torch.Tensor]:
    """The network's own tensor of each compressed one, by the file's name."""
    names = own_names(original, file.recipe.tensors)
    own = {**dict(original.named_parameters(remove_duplicate=False)), **dict(original.named_buffers())}
    for name, tensor in file.recipe.tensors.items():
        if name not in names:
            raise MomosError(f"{file.path} is of another network: {type(original).__name__} has no {name}")
        shape = list(own[names[name]].shape)
        if shape != list(tensor.shape):
            raise MomosError(f"{file.path} is of another network: {name} is {list(tensor.shape)} there, here {shape}")
    return {name: own[names[name]] for name in file.recipe.tensors}


def _alone(
    file: MomosFile,
    original: nn.Module,
    places: dict[str, torch.Tensor],
    batches: Iterable[Inputs],
    samples: int,
    *,
    device: str,
    progress: Progress,
) -> dict[str, float]:
    errors = dict.fromkeys(places, 0.0)
    total = samples * len(places)
    with torch.inference_mode():
        for batch in batches:
            inputs, mask, length = to_device(batch, device), attention_mask(batch), batch_length(batch)
            mask = None if mask is None else mask.to(device)
            target = forward(original, inputs)
            for name, place in places.items():
                # ``data``: in inference mode a parameter itself takes no new values.
                kept = place.data.clone()
                try:
                    place.data.copy_(file.get(name).to(device))
                    errors[name] += float(output_loss(forward(original, inputs), target, mask)) * length / samples
                finally:
                    place.data.copy_(kept)
                progress("tensors alone", length, total)
    return errors
