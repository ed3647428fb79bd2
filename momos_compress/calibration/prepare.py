"""What a calibration runs on: weights that are numbers, and the user's inputs or made-up ones."""

from torch import nn

from momos_compress.calibration.budget import seconds_for_inputs
from momos_compress.calibration.input_kinds import make_inputs
from momos_compress.calibration.wanted import Wanted
from momos_compress.common.progress import Progress
from momos_compress.data.draws import CalibrationData, count_samples, open_calibration
from momos_compress.errors import MomosError
from momos_compress.mosaic.blocks import check_finite
from momos_compress.planning.plan import Plan
from momos_compress.settings import SYNTHETIC
from momos_compress.sources.checkpoint import Checkpoint


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
    checkpoint: Checkpoint,
    work: Plan,
    model: nn.Module,
    *,
    tell: Progress,
    held_out: int = 0,
    trial: bool = False,
) -> CalibrationData:
    """The inputs that the settings ask for: the user's data, or made-up ones.

    Args:
        checkpoint: What is compressed; its source leads to a language model's tokenizer.
        work: How it is compressed.
        model: The checkpoint's network, on the plan's device.
        tell: Told how far the making of inputs is.
        held_out: Further samples to keep apart, to measure on; of data at most a third of what there is.
        trial: Whether they only serve to tell what a run will take: made-up ones are left rough then.

    Raises:
        NoInputsError: No inputs can be made up for this network.
        MomosError: The data cannot be read, do not fit the network or are too few.
    """
    settings, name = work.settings, str(work.settings.calibrate)
    if name == SYNTHETIC:
        return make_inputs(
            Wanted(
                model,
                checkpoint.source,
                settings.samples,
                held_out,
                settings.seed,
                settings.device,
                seconds_for_inputs(settings),
                tell,
                trial,
            )
        )
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
