"""What a calibration runs on: weights that are numbers, and the user's inputs or synthetic ones."""

import torch
from torch import nn

from momos_compress.calibration.synthetic import synthetic_images
from momos_compress.common.progress import Progress
from momos_compress.data.draws import CalibrationData, count_samples, open_calibration
from momos_compress.data.registry import preprocessing
from momos_compress.errors import MomosError
from momos_compress.mosaic.blocks import check_finite
from momos_compress.networks.costs import products_of
from momos_compress.planning.plan import Plan
from momos_compress.settings import SYNTHETIC
from momos_compress.sources.checkpoint import Checkpoint

SYNTHETIC_IMAGES, SYNTHETIC_STEPS, SYNTHETIC_BATCH = 192, 120, 64
SYNTHETIC_PRODUCTS = 10**13
"""Multiplications that making synthetic inputs may take: large networks get fewer images, and fewer steps."""


def check_weights(checkpoint: Checkpoint, work: Plan) -> None:
    """MomosError that names a weight with a NaN or infinity: a network with one computes nothing to calibrate on."""
    for info in work.selection.chosen:
        try:
            check_finite(checkpoint.read(info.name).reshape(-1).float(), 0, info.shape)
        except MomosError as error:
            raise MomosError(f"{info.name} {list(info.shape)}: {error}") from error


def calibration_inputs(
    checkpoint: Checkpoint, work: Plan, model: nn.Module, *, tell: Progress, held_out: int = 0
) -> CalibrationData:
    """The inputs that the settings ask for: the user's data, or images that match the batch norms' statistics.

    held_out: so many further samples are kept apart, to measure on; of data at most a third of what there is.
    """
    settings = work.settings
    if settings.calibrate != SYNTHETIC:
        name = str(settings.calibrate)
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
    if not hasattr(model, "pretrained_cfg"):
        raise MomosError(
            f"`calibrate='synthetic'` makes images, and {type(model).__name__} is no image network of timm; give data"
        )
    shape = tuple(preprocessing(model)["input_size"])
    wanted = settings.samples or SYNTHETIC_IMAGES
    one = products_of(model, torch.zeros(1, *shape, device=str(settings.device)))
    steps = max(SYNTHETIC_STEPS // 3, min(SYNTHETIC_STEPS, SYNTHETIC_PRODUCTS // (3 * max(one, 1) * wanted)))
    count = wanted if settings.samples else max(16, min(wanted, SYNTHETIC_PRODUCTS // (3 * max(one, 1) * steps)))
    apart = min(held_out, max(16, count // 2))
    images = synthetic_images(
        model,
        shape,
        count=count + apart,
        steps=steps,
        batch=min(SYNTHETIC_BATCH, count),
        seed=settings.seed,
        device=str(settings.device),
        progress=lambda done: tell("synthetic inputs", done, (count + apart) * steps),
    )
    kind = "synthetic images from the statistics of batch norms"
    rest = images[count:]
    further = CalibrationData(f"{apart:,} further {kind}", apart, (), lambda start, stop: rest[start:stop])
    return CalibrationData(
        f"{count:,} {kind}", count, (), lambda start, stop: images[start:stop], further if apart else None
    )
