"""Sounds for a speech network that none were given for: noise whose loudness falls with the frequency."""

from typing import Any

import numpy as np
import torch

from momos_compress.calibration.wanted import Wanted, made_data
from momos_compress.data.batches import Inputs
from momos_compress.data.draws import CalibrationData
from momos_compress.data.procedural import coloured_noise

SOUNDS = 64
"""Sounds that are made where no number is asked for."""
VALUES = 32_000
"""Values of a waveform: two seconds at the 16 kHz that speech networks are trained on."""
POWERS = (0.3, 1.2)
"""Powers that the amplitude of a sound falls with, per frequency; speech lies around 1."""
DECODED = 16
"""Tokens that a decoder beside the encoder is given."""


def takes_sounds(wanted: Wanted) -> bool:
    """Whether the network takes waveforms or spectra by the names that transformers gives them."""
    return getattr(wanted.model, "main_input_name", None) in ("input_values", "input_features")


def sounds(wanted: Wanted) -> CalibrationData:
    """Coloured noise of mean 0 and variance 1, in the shape that the network's configuration says."""
    count = wanted.samples or SOUNDS
    apart = min(wanted.held_out, max(1, count // 2))
    made = []
    for number in range(count + apart):
        rng = np.random.default_rng((wanted.seed, number))
        made.append(coloured_noise((1, *_shape(wanted)), rng.uniform(*POWERS), rng)[0])
    kind = "pieces of coloured noise"
    return made_data(torch.from_numpy(np.stack(made)).float(), apart, kind, lambda rows: _batch(wanted, rows))


def _shape(wanted: Wanted) -> tuple[int, ...]:
    config: Any = getattr(wanted.model, "config", None)
    bands = getattr(config, "num_mel_bins", None)
    if bands is None:
        return (VALUES,)
    positions = getattr(config, "max_source_positions", None)
    if positions is not None:  # of Whisper, whose first convolutions take every other frame
        return (bands, 2 * positions)
    return (getattr(config, "max_length", 1024), bands)


def _batch(wanted: Wanted, rows: torch.Tensor) -> Inputs:
    model: Any = wanted.model
    batch = {str(model.main_input_name): rows}
    config: Any = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        tokens = torch.arange(len(rows) * DECODED).reshape(len(rows), DECODED) * 7919 % config.vocab_size
        tokens[:, 0] = getattr(config, "decoder_start_token_id", 0) or 0
        batch["decoder_input_ids"] = tokens
    return batch
