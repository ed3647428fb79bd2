"""Where settings are tried one after the other: a network and its inputs, opened once, and what measures a file."""

from dataclasses import dataclass, replace
from pathlib import Path

from momos_compress.common.progress import Progress
from momos_compress.compression.fit import FittedMosaic, NetworkInputs, fit_checkpoint, open_network
from momos_compress.compression.pipeline import compress
from momos_compress.compression.report import Report
from momos_compress.networks.fidelity import Degradation
from momos_compress.networks.load import load_model, model_of
from momos_compress.networks.meters import HELD_OUT, Meter, accuracy_meter, output_meter
from momos_compress.planning.plan import ALONE, Plan, plan
from momos_compress.settings import NO_CALIBRATION, Settings
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Bench:
    """What several trials share.

    Attributes:
        network: The network and its calibration inputs; None where motifs are fitted to weights alone.
        meter: Measures a compressed network; None where files are compared by the error of their weights.
        instead: The plan for weights alone, where no inputs could be made up for the plan that was opened.
    """

    network: NetworkInputs | None
    meter: Meter | None
    instead: Plan | None = None

    def settled(self, settings: Settings) -> Settings:
        """The settings that trials can have: those given, or for weights alone where nothing can be run."""
        return settings if self.instead is None else replace(settings, method=None, calibrate=NO_CALIBRATION)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the inputs."""
        return () if self.instead is None else tuple(w for w in self.instead.selection.warnings if ALONE in w)


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
    apart = HELD_OUT if data is None else 0
    settled, network = open_network(checkpoint, work, held_out=apart, progress=progress)
    instead = settled if settled is not work else None
    device = work.settings.device
    if data is not None:
        model = model_of(checkpoint, device=device) if network is None else network.model
        return Bench(network, accuracy_meter(model, data, device=device, progress=progress), instead)
    if network is None:
        return Bench(None, None, instead)
    assert network.data.held_out is not None
    return Bench(network, output_meter(network.model, network.data.held_out, device=device), instead)


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
