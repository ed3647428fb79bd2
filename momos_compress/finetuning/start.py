"""The compressed file that a run begins with, fitted to samples that are trained on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from momos_compress.common.progress import Progress
from momos_compress.compression.fit import NetworkInputs, fit_checkpoint
from momos_compress.compression.pipeline import compress
from momos_compress.data.batches import Inputs, to_device
from momos_compress.data.draws import DEFAULT_SAMPLES, CalibrationData
from momos_compress.finetuning.samples import SampleKind, Samples
from momos_compress.networks.load import model_of
from momos_compress.planning.plan import plan
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint


def compress_start(
    checkpoint: Checkpoint,
    settings: Settings,
    path: Path,
    kind: SampleKind,
    samples: Samples | None,
    progress: Progress,
) -> None:
    """Compress a dense checkpoint.

    Args:
        checkpoint: The weights.
        settings: What to do.
        path: The file to write.
        kind: How the network takes its samples.
        samples: The training set, to which motifs are fitted; None where ``settings`` say what calibrates.
        progress: Told how far each stage is.
    """
    if samples is None or settings.method not in (None, "hessian"):
        compress(checkpoint, settings, path, progress=progress)
        return
    settings = replace(settings, calibrate=samples.name)
    drawn = calibration_of(samples, kind, settings.samples or DEFAULT_SAMPLES, settings.seed)
    network = NetworkInputs(model_of(checkpoint, device=settings.device), drawn)
    fitted = fit_checkpoint(checkpoint, plan(checkpoint, settings), path.parent, network=network, progress=progress)
    compress(checkpoint, settings, path, fitted=fitted, progress=progress)


def calibration_of(samples: Samples, kind: SampleKind, count: int, seed: int) -> CalibrationData:
    """Draw calibration inputs from one set alone: what is held out must play no part in the motifs either.

    Args:
        samples: The set.
        kind: How the network takes its samples.
        count: How many to draw; fewer where the set has fewer.
        seed: Seed of the draw.
    """
    views, count = kind.views(samples), min(count, len(samples.order))
    drawn = torch.randperm(len(samples.order), generator=torch.Generator().manual_seed(seed))[:count].tolist()

    def read(positions: Sequence[int]) -> Inputs:
        batch, _ = views.collate([views[0, drawn[position]] for position in positions])
        return to_device(kind.prepare(batch), "cpu")

    return CalibrationData(f"{count:,} {samples.noun} of {Path(samples.name).name}", count, (), read)
