"""Where settings are tried one after the other: a network and its inputs, opened once, and what measures a file."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from momos_compress.common.progress import Progress
from momos_compress.compression.fit import FittedMosaic, NetworkInputs, fit_checkpoint
from momos_compress.compression.measure import fidelity_meter
from momos_compress.compression.pipeline import compress
from momos_compress.compression.report import Report
from momos_compress.fitting.methods import HESSIAN
from momos_compress.networks.fidelity import Fidelity
from momos_compress.networks.load import load_model, model_of
from momos_compress.networks.meters import HELD_OUT, Meter, accuracy_meter
from momos_compress.planning.plan import Plan, plan
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint

if TYPE_CHECKING:
    from momos_compress.data.draws import CalibrationData


@dataclass(frozen=True)
class Bench:
    """What several trials share.

    Attributes:
        network: The network and its calibration inputs; None where motifs are fitted to weights alone.
        outputs: Compares outputs with the original's; None where no network was calibrated.
        accuracy: Measures accuracy; None without labels.
    """

    network: NetworkInputs | None
    outputs: Meter[Fidelity] | None
    accuracy: Meter[float] | None

    @property
    def meter(self) -> Meter[float] | Meter[Fidelity] | None:
        """What points are lost of: accuracy where there are labels; None where only weights are compared."""
        return self.accuracy or self.outputs


@dataclass(frozen=True)
class Tried:
    """What a trial gave.

    Attributes:
        fitted: The mosaic.
        report: Figures of its file.
        drop: Points lost of accuracy, or without labels those of its report's ``fidelity``; None without a meter.
    """

    fitted: FittedMosaic
    report: Report
    drop: float | None

    @property
    def error(self) -> float:
        """What files of an equal drop are compared by: the error of outputs, or of weights where no network was run."""
        return self.report.relative_distortion if self.report.fidelity is None else self.report.fidelity.error


def open_bench(checkpoint: Checkpoint, work: Plan, data: str | None, progress: Progress) -> Bench:
    """Open the network and its inputs for the trials of a plan.

    Args:
        checkpoint: The weights.
        work: A plan whose method and calibration all trials share.
        data: Labelled images that accuracy is measured on. Without, more samples of the calibration data are held out,
            for outputs are then what trials are compared by.
        progress: Told how far each stage is.
    """
    settings = work.settings
    calibrated = settings.method == HESSIAN
    if not calibrated and data is None:
        return Bench(None, None, None)
    model = model_of(checkpoint, device=settings.device)
    network = outputs = accuracy = None
    if calibrated:
        network = NetworkInputs(model, _inputs(checkpoint, work, model, data, progress))
        outputs = fidelity_meter(network, settings.device)
    if data is not None:
        accuracy = accuracy_meter(model, data, device=settings.device, progress=progress)
    return Bench(network, outputs, accuracy)


def _inputs(
    checkpoint: Checkpoint, work: Plan, model: torch.nn.Module, data: str | None, progress: Progress
) -> "CalibrationData":
    from momos_compress.calibration.apart import inputs_with_some_apart
    from momos_compress.calibration.prepare import calibration_inputs

    if data is not None:
        return inputs_with_some_apart(checkpoint, work, model, tell=progress)
    return calibration_inputs(checkpoint, work, model, tell=progress, held_out=HELD_OUT)


def try_settings(checkpoint: Checkpoint, settings: Settings, path: Path, bench: Bench, progress: Progress) -> Tried:
    """Fit, write ``path``, measure what is read back from it, and remove it again."""
    quick = replace(settings, bdm=False)
    work = plan(checkpoint, quick)
    fitted = fit_checkpoint(checkpoint, work, path.parent, network=bench.network, progress=progress)
    try:
        report = compress(checkpoint, quick, path, progress=progress, fitted=fitted, meter=bench.outputs)
        drop = None if report.fidelity is None else report.fidelity.drop
        if bench.accuracy is not None:
            progress("measure", 0, 0)
            drop = bench.accuracy(load_model(path, device=report.device))
    finally:
        path.unlink(missing_ok=True)
    return Tried(fitted, report, drop)
