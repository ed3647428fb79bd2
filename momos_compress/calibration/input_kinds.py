"""Inputs that are made up where none are given: the table of their kinds; the first that a network runs on is taken."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from momos_compress.calibration.made_images import has_batch_norms, procedural_images, trained_images
from momos_compress.calibration.made_sounds import sounds, takes_sounds
from momos_compress.calibration.made_tokens import (
    corpus_texts,
    drawn_sequences,
    has_masked_head,
    is_decoder,
    reads_tokens,
    redrawn_sequences,
)
from momos_compress.calibration.wanted import Wanted
from momos_compress.data.batches import to_device
from momos_compress.data.draws import CalibrationData
from momos_compress.data.preprocessing import takes_images
from momos_compress.errors import MomosError
from momos_compress.networks.forward import forward


class NoInputsError(MomosError):
    """No inputs can be made up for a network; the message says why."""


@dataclass(frozen=True)
class InputKind:
    """One kind of made-up inputs.

    Attributes:
        suits: Whether it is a kind that the network takes.
        make: Makes them; a MomosError says why that cannot be, and the next kind is tried.
    """

    suits: Callable[[Wanted], bool]
    make: Callable[[Wanted], CalibrationData]


INPUT_KINDS: dict[str, InputKind] = {
    "trained images": InputKind(lambda wanted: takes_images(wanted.model) and has_batch_norms(wanted), trained_images),
    "procedural images": InputKind(lambda wanted: takes_images(wanted.model), procedural_images),
    "texts": InputKind(reads_tokens, corpus_texts),
    "drawn sequences": InputKind(is_decoder, drawn_sequences),
    # Purely random tokens would serve worse than no inputs at all.
    "redrawn sequences": InputKind(has_masked_head, redrawn_sequences),
    "sounds": InputKind(takes_sounds, sounds),
}
"""Kinds of made-up inputs by name, the best first; the first that suits a network and runs is taken."""


def make_inputs(wanted: Wanted) -> CalibrationData:
    """Make up inputs for a network.

    Returns:
        Inputs that the network was seen to run on. Their warnings say which better kinds could not be had, and why.

    Raises:
        NoInputsError: No kind suits the network, or it runs on none.
    """
    problems: list[str] = []
    for kind in INPUT_KINDS.values():
        if not kind.suits(wanted):
            continue
        try:
            data = kind.make(wanted)
            with torch.inference_mode():
                forward(wanted.model, to_device(data.read([0]), wanted.device))
        except MomosError as error:
            problems.append(str(error))
            continue
        instead = tuple(f"{problem}: calibrated on {data.description} instead" for problem in problems[:1])
        return replace(data, warnings=(*data.warnings, *instead))
    if not problems:
        name = getattr(wanted.model, "main_input_name", None)
        takes = f", which takes {name!r}" if isinstance(name, str) else ""
        raise NoInputsError(f"nothing is known to run {wanted.network} on{takes}")
    raise NoInputsError(problems[-1])  # what the last resort failed on
