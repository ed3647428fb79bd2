"""What a calibration runs on: weights that are numbers, and the user's inputs or synthetic ones."""

import torch
from torch import nn

from momos_compress.calibration.synthetic import synthetic_images
from momos_compress.common.progress import Progress
from momos_compress.data.draws import CalibrationData, count_samples, open_calibration
from momos_compress.data.preprocessing import preprocessing
from momos_compress.errors import MomosError
from momos_compress.mosaic.blocks import check_finite
from momos_compress.networks.costs import products_of
from momos_compress.planning.plan import Plan
from momos_compress.settings import SYNTHETIC
from momos_compress.sources.checkpoint import Checkpoint

SYNTHETIC_IMAGES = 192
"""Images that are made where no number is asked for and as many are affordable."""
LEAST_IMAGES = 16
"""Images that are made in any case."""
SYNTHETIC_STEPS = 120
"""Steps that images are trained for; a third of them where that is all that is affordable."""
SYNTHETIC_BATCH = 64
"""Images that are trained together."""
SYNTHETIC_PRODUCTS = 10**13
"""Multiplications that making images may take, at three times a forward pass a step."""


def check_weights(checkpoint: Checkpoint, work: Plan) -> None:
    """Refuse weights that are not numbers, for a network with one computes nothing to calibrate on.

    Raises:
        MomosError: Names the first weight with a NaN or infinity, and where it is.
    """
    for info in work.selection.chosen:
        try:
            check_finite(checkpoint.read(info.name).reshape(-1).float(), 0, info.shape)
        except MomosError as error:
            raise MomosError(f"{info.name} {list(info.shape)}: {error}") from error


def calibration_inputs(
    checkpoint: Checkpoint, work: Plan, model: nn.Module, *, tell: Progress, held_out: int = 0
) -> CalibrationData:
    """The inputs that the settings ask for: the user's data, or images that match the batch norms' statistics.

    Args:
        checkpoint: What is compressed; its source leads to a language model's tokenizer.
        work: How it is compressed.
        model: The checkpoint's network, on the plan's device.
        tell: Told the steps of making images.
        held_out: Further samples to keep apart, to measure on; of data at most a third of what there is.

    Raises:
        MomosError: The data cannot be read, do not fit the network or are too few, or no images can be made.
    """
    if work.settings.calibrate == SYNTHETIC:
        return _synthetic_inputs(work, model, tell, held_out)
    settings, name = work.settings, str(work.settings.calibrate)
    if held_out:
        there = count_samples(name, model, source=checkpoint.source)
        spare = there - (settings.samples or 0)
        held_out = max(1, min(held_out, there // 3, spare))
    return open_calibration(
        name,
        model,
        samples=settings.samples,
        seed=settings.seed,
        source=checkpoint.source,
        held_out=held_out,
    )


def _synthetic_inputs(work: Plan, model: nn.Module, tell: Progress, held_out: int) -> CalibrationData:
    """As many images, trained for as many steps, as are affordable or asked for."""
    settings, device = work.settings, str(work.settings.device)
    if not hasattr(model, "pretrained_cfg"):
        raise MomosError(
            f"`calibrate='synthetic'` makes images, and {type(model).__name__} is no image network of timm; give data"
        )
    shape = tuple(preprocessing(model)["input_size"])
    wanted = settings.samples or SYNTHETIC_IMAGES
    step = 3 * max(products_of(model, torch.zeros(1, *shape, device=device)), 1)
    steps = max(SYNTHETIC_STEPS // 3, min(SYNTHETIC_STEPS, SYNTHETIC_PRODUCTS // (step * wanted)))
    count = wanted
    if not settings.samples:
        count = max(LEAST_IMAGES, min(wanted, SYNTHETIC_PRODUCTS // (step * steps)))
    apart = min(held_out, max(LEAST_IMAGES, count // 2))
    images = synthetic_images(
        model,
        shape,
        count=count + apart,
        steps=steps,
        batch=min(SYNTHETIC_BATCH, count),
        seed=settings.seed,
        device=device,
        progress=lambda done: tell("synthetic inputs", done, (count + apart) * steps),
    )
    kind = "synthetic images from the statistics of batch norms"
    rest = images[count:]
    further = CalibrationData(f"{apart:,} further {kind}", apart, (), lambda start, stop: rest[start:stop])
    return CalibrationData(
        f"{count:,} {kind}", count, (), lambda start, stop: images[start:stop], further if apart else None
    )
