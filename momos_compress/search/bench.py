"""Where settings are tried one after the other: a network and its inputs, opened once, and what measures a file."""

from dataclasses import dataclass, replace
from pathlib import Path

from momos_compress.common.progress import Progress
from momos_compress.compression.fit import FittedMosaic, NetworkInputs, fit_checkpoint, open_network
from momos_compress.compression.measure import fidelity_meter
from momos_compress.compression.pipeline import compress
from momos_compress.compression.report import Report
from momos_compress.networks.fidelity import Fidelity
from momos_compress.networks.load import load_model, model_of
from momos_compress.networks.meters import HELD_OUT, Meter, accuracy_meter
from momos_compress.planning.plan import ALONE, Plan, plan
from momos_compress.settings import NO_CALIBRATION, Settings
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Bench:
    """What several trials share.

    Attributes:
        network: The network and its calibration inputs; None where motifs are fitted to weights alone.
        outputs: Compares outputs with the original's; None where no network was calibrated.
        accuracy: Measures accuracy; None without labels.
        instead: The plan for weights alone, where no inputs could be made up for the plan that was opened.
    """

    network: NetworkInputs | None
    outputs: Meter[Fidelity] | None
    accuracy: Meter[float] | None
    instead: Plan | None = None

    @property
    def meter(self) -> Meter[float] | Meter[Fidelity] | None:
        """What points are lost of: accuracy where there are labels; None where only weights are compared."""
        return self.accuracy or self.outputs

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
    settled, network = open_network(checkpoint, work, held_out=HELD_OUT if data is None else None, progress=progress)
    instead = settled if settled is not work else None
    device = work.settings.device
    outputs = accuracy = None
    if network is not None:
        outputs = fidelity_meter(network, device)
    if data is not None:
        model = model_of(checkpoint, device=device) if network is None else network.model
        accuracy = accuracy_meter(model, data, device=device, progress=progress)
    return Bench(network, outputs, accuracy, instead)


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
