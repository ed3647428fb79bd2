"""Where settings are tried one after the other: a network and its inputs, opened once, and what measures a file."""

from dataclasses import dataclass, replace
from pathlib import Path

from momos_compress.common.progress import Progress
from momos_compress.compression.fit import FittedMosaic, NetworkInputs, fit_checkpoint
from momos_compress.compression.pipeline import compress
from momos_compress.compression.report import Report
from momos_compress.fitting.methods import HESSIAN
from momos_compress.networks.fidelity import Degradation
from momos_compress.networks.load import load_model, model_of
from momos_compress.networks.meters import HELD_OUT, Meter, accuracy_meter, output_meter
from momos_compress.planning.plan import Plan, plan
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Bench:
    """What several trials share.

    Attributes:
        network: The network and its calibration inputs; None where motifs are fitted to weights alone.
        meter: Measures a compressed network; None where files are compared by the error of their weights.
    """

    network: NetworkInputs | None
    meter: Meter | None


@dataclass(frozen=True)
class Tried:
    """What a trial gave.

    Attributes:
        fitted: The mosaic.
        report: Figures of its file.
        loss: What is lost against the original. Without a meter, the error is that of the weights, squared and over
            their energy.
    """

    fitted: FittedMosaic
    report: Report
    loss: Degradation


def open_bench(checkpoint: Checkpoint, work: Plan, data: str | None, progress: Progress) -> Bench:
    """Open the network and its inputs for the trials of a plan.

    Args:
        checkpoint: The weights.
        work: A plan whose method and calibration all trials share.
        data: Labelled images that accuracy is measured on. Without, outputs are compared with the original's on
            calibration samples that are held out.
        progress: Told how far each stage is.
    """
    settings = work.settings
    calibrated = settings.method == HESSIAN
    if not calibrated and data is None:
        return Bench(None, None)
    model = model_of(checkpoint, device=settings.device)
    network = None
    if calibrated:
        from momos_compress.calibration.prepare import calibration_inputs

        apart = HELD_OUT if data is None else 0
        inputs = calibration_inputs(checkpoint, work, model, tell=progress, held_out=apart)
        network = NetworkInputs(model, inputs)
    if data is not None:
        return Bench(network, accuracy_meter(model, data, device=settings.device, progress=progress))
    assert network is not None
    assert network.data.held_out is not None
    return Bench(network, output_meter(model, network.data.held_out, device=settings.device))


def try_settings(checkpoint: Checkpoint, settings: Settings, path: Path, bench: Bench, progress: Progress) -> Tried:
    """Fit, write ``path``, measure what is read back from it, and remove it again."""
    quick = replace(settings, bdm=False)
    work = plan(checkpoint, quick)
    fitted = fit_checkpoint(checkpoint, work, path.parent, network=bench.network, progress=progress)
    try:
        report = compress(checkpoint, quick, path, progress=progress, fitted=fitted)
        loss = Degradation(error=report.relative_distortion)
        if bench.meter is not None:
            progress("measure", 0, 0)
            loss = bench.meter(load_model(path, device=report.device))
    finally:
        path.unlink(missing_ok=True)
    return Tried(fitted, report, loss)
