"""The main job: measure, fit, write, verify, report."""

from pathlib import Path

from momos_compress.common.progress import Progress, silent
from momos_compress.common.stages import Stages
from momos_compress.compression.fit import FittedMosaic, fit_checkpoint, open_network
from momos_compress.compression.measure import fidelity_meter, measure_before
from momos_compress.compression.report import Report, report_of
from momos_compress.compression.write import verify, write
from momos_compress.networks.fidelity import Fidelity
from momos_compress.networks.meters import Meter
from momos_compress.planning.plan import output_path, plan
from momos_compress.settings import Settings
from momos_compress.sources.checkpoint import Checkpoint


def compress(
    checkpoint: Checkpoint,
    settings: Settings,
    output: str | Path | None = None,
    *,
    data: str | None = None,
    stages: Stages | None = None,
    progress: Progress = silent,
    fitted: FittedMosaic | None = None,
    meter: Meter[Fidelity] | None = None,
) -> Report:
    """Compress a checkpoint to a mosaic of motifs, and write it to one file.

    Every figure of the report is measured on the file as it was read back. Where motifs are fitted to what the network
    computes, its outputs are compared with the original's on inputs that the fit has not seen.

    Args:
        checkpoint: The weights, such as ``open_checkpoint`` gives.
        settings: What to do; what is left open is chosen for this checkpoint.
        output: The file to write; None: ``NAME.momos.safetensors`` in the working directory.
        data: Labelled images on which accuracy is measured before and after: a folder of one folder a class, a tar of
            one, or the name of a registered data set. None: accuracy is not measured.
        stages: Collects times and memory; give one that holds stages that ran before, such as loading.
        progress: Told how far each stage is.
        fitted: What ``fit_checkpoint`` gave for these very settings, where that was done before.
        meter: Compares outputs with the original's, where ``fitted`` is given; None: they are not compared then.

    Returns:
        What was done, and the file's figures.

    Raises:
        MomosError: if a setting is wrong, no tensor can be compressed, a weight is no number, the file cannot be
            written, or accuracy cannot be measured on ``data``.

    Examples:
        >>> import momos_compress as mc, momos_zoo  # momos_zoo brings the demo network along
        >>> settings = mc.Settings(c=0.05, calibrate="none", bdm=False)
        >>> report = mc.compress(mc.open_checkpoint("digits"), settings, "small.momos.safetensors")
        >>> report.k, report.ratio > 6
        (931, True)
    """
    stages = stages or Stages()
    path = output_path(checkpoint, output)
    work = plan(checkpoint, settings)
    before = measure_before(checkpoint, work, data, stages, progress)
    if fitted is None:
        work, network = open_network(checkpoint, work, stages=stages, progress=progress)
        meter = None if network is None else fidelity_meter(network, work.settings.device)
        fitted = fit_checkpoint(checkpoint, work, path.parent, network=network, stages=stages, progress=progress)
    written = write(checkpoint, work, fitted, path, stages, meter=meter, progress=progress)
    verified = verify(checkpoint, work, path, data, stages, progress)
    return report_of(checkpoint, work, fitted, written, before=before, after=verified, data=data, stages=stages)
