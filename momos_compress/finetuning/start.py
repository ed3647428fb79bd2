"""The compressed file that a run begins with, fitted to samples that are trained on."""

from dataclasses import replace
from pathlib import Path

import torch

from momos_compress.compression.pipeline import Prepared, compress, fit_checkpoint
from momos_compress.data.batches import Inputs, to_device
from momos_compress.data.draws import DEFAULT_SAMPLES, CalibrationData
from momos_compress.finetuning.loop import Tell
from momos_compress.finetuning.samples import Kind, Samples
from momos_compress.networks.load import model_of
from momos_compress.planning.plan import plan
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint


def compress_start(
    checkpoint: Checkpoint, settings: Settings, path: Path, kind: Kind, samples: Samples | None, tell: Tell
) -> None:
    """Compress a dense checkpoint to ``path``.

    samples: the training set, whose samples motifs are fitted to; None where the settings say what calibrates.
    """
    if samples is None or settings.method not in (None, "hessian"):
        compress(checkpoint, settings, path, progress=tell)
        return
    settings = replace(settings, calibrate=samples.name)
    drawn = calibration_of(samples, kind, settings.samples or DEFAULT_SAMPLES, settings.seed)
    prepared = Prepared(model_of(checkpoint, device=str(settings.device)), drawn)
    fitted = fit_checkpoint(checkpoint, plan(checkpoint, settings), path.parent, prepared=prepared, tell=tell)
    compress(checkpoint, settings, path, fitted=fitted, progress=tell)


def calibration_of(samples: Samples, kind: Kind, count: int, seed: int) -> CalibrationData:
    """Samples of one set alone, drawn with ``seed``: what is held out plays no part in the motifs either."""
    views, count = kind.views(samples), min(count, len(samples.order))
    drawn = torch.randperm(len(samples.order), generator=torch.Generator().manual_seed(seed))[:count].tolist()

    def read(start: int, stop: int) -> Inputs:
        batch, _ = views.collate([views[0, position] for position in drawn[start:stop]])
        return to_device(kind.prepare(batch), "cpu")

    return CalibrationData(f"{count:,} {samples.noun} of {Path(samples.name).name}", count, (), read)
