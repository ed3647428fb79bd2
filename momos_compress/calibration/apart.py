"""Calibration inputs with a few of them kept apart, on which the file's outputs are compared with the original's."""

from torch import nn

from momos_compress.calibration.prepare import calibration_inputs
from momos_compress.common.progress import Progress
from momos_compress.data.draws import CalibrationData, count_samples
from momos_compress.errors import MomosError
from momos_compress.planning.plan import Plan
from momos_compress.settings import SYNTHETIC
from momos_compress.sources.checkpoint import Checkpoint

IMAGES_APART = 64
"""Images of the user's that are kept apart, where there are enough."""
TEXTS_APART = 16
"""Texts that are kept apart, where there are enough: each has many tokens."""
MADE_APART = 16
"""Further inputs that are made up, at most half as many as are calibrated on: each takes as long."""
LEAST_SHARE = 5
"""At most one sample in so many is kept apart."""


def inputs_with_some_apart(
    checkpoint: Checkpoint, work: Plan, model: nn.Module, *, tell: Progress, trial: bool = False
) -> CalibrationData:
    """The inputs that the settings ask for, and as ``held_out`` a few others of the same kind.

    Nothing is held out where the data have too few samples for it, or all of them were asked for.

    Args:
        checkpoint: What is compressed; its source leads to a language model's tokenizer.
        work: How it is compressed.
        model: The checkpoint's network, on the plan's device.
        tell: Told the steps of making inputs.
        trial: Whether they only serve to tell what a run will take.

    Raises:
        NoInputsError: No inputs can be made up for this network.
        MomosError: The data cannot be read, do not fit the network or are too few.
    """
    if work.settings.calibrate == SYNTHETIC:
        return calibration_inputs(checkpoint, work, model, tell=tell, held_out=MADE_APART, trial=trial)
    apart = _count(checkpoint, work, model)
    if apart:
        try:
            return calibration_inputs(checkpoint, work, model, tell=tell, held_out=apart)
        except MomosError:
            # Of as many samples as were asked for some may be unreadable: what is left is calibrated on, or the error
            # comes again without a word of what was to be held out.
            pass
    return calibration_inputs(checkpoint, work, model, tell=tell)


def _count(checkpoint: Checkpoint, work: Plan, model: nn.Module) -> int:
    settings = work.settings
    there = count_samples(str(settings.calibrate), model, source=checkpoint.source)
    most = IMAGES_APART if hasattr(model, "pretrained_cfg") else TEXTS_APART
    return max(0, min(most, there // LEAST_SHARE, there - (settings.samples or 0)))
