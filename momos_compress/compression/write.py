"""The file of a mosaic, written and read back."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from momos_compress.common.progress import Progress, silent
from momos_compress.common.stages import Stages
from momos_compress.compression.describe import describe_run
from momos_compress.compression.fit import FittedMosaic
from momos_compress.compression.measure import counted, top1_of
from momos_compress.container.assembly import Kept, recipe_of, stored_tensors
from momos_compress.container.inspection import mosaic_bytes
from momos_compress.container.reader import MomosFile
from momos_compress.container.writer import write_container
from momos_compress.measures.bdm import sign_bdm
from momos_compress.networks.fidelity import Fidelity
from momos_compress.networks.load import load_model
from momos_compress.networks.meters import Meter
from momos_compress.planning.plan import Plan
from momos_compress.sources.baseline import measured_names
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Written:
    """A file on the disk.

    Attributes:
        path: Where it is.
        file_bytes: Its size.
        kept: How tensors beside the mosaic, and the indices, came to be stored.
        fidelity: How the outputs of its network differ from the original's; None where no network was run.
    """

    path: Path
    file_bytes: int
    kept: Kept
    fidelity: Fidelity | None


@dataclass(frozen=True)
class Verified:
    """What is measured on a file as it was read back; None where it was not asked for.

    Attributes:
        mosaic_bytes: Bytes of the stored indices, with the counts that decode them.
        bdm_bits: BDM of the decoded signs, in bits.
        top1: Accuracy of the decoded network, in per cent.
    """

    mosaic_bytes: int
    bdm_bits: float | None
    top1: float | None


def write(
    checkpoint: Checkpoint,
    work: Plan,
    fitted: FittedMosaic,
    path: Path,
    stages: Stages,
    *,
    meter: Meter[Fidelity] | None = None,
    progress: Progress = silent,
) -> Written:
    """Write the mosaic, and the tensors beside it, to ``path``.

    With a meter, the network of the same tensors is first read back from a file beside it and measured, since the
    recipe tells what was found.
    """
    with stages.stage("encode"):
        stored, kept = stored_tensors(
            checkpoint.tensors,
            fitted.mosaic,
            work.settings.coding,
            passthrough=work.settings.passthrough,
            replaced=fitted.replaced,
            spool_directory=path.parent,
        )

    def write_as(place: Path, fidelity: Fidelity | None) -> int:
        extra = describe_run(checkpoint, work, steps=fitted.steps, fidelity=fidelity)
        recipe = recipe_of(fitted.mosaic, kept, aliases=checkpoint.tensors.aliases, extra=extra)
        # A file that needs any extension of the format is small with all of them.
        return write_container(place, stored, recipe, bundled=bool(recipe.features))

    fidelity = None
    if meter is not None:
        with (
            stages.stage("compare outputs"),
            tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as directory,
        ):
            progress("compare outputs", 0, 0)
            draft = Path(directory) / path.name
            write_as(draft, None)
            fidelity = meter(load_model(draft, device=work.settings.device))
    with stages.stage("write"):
        file_bytes = write_as(path, fidelity)
    return Written(path, file_bytes, kept, fidelity)


def verify(
    checkpoint: Checkpoint, work: Plan, path: Path, data: str | None, stages: Stages, progress: Progress
) -> Verified:
    """Read every tensor back, which verifies its checksum, and measure what the file holds."""
    file, bdm_bits, top1 = MomosFile(path), None, None
    with stages.stage("read back"):
        order = measured_names(checkpoint)
        weights = counted(map(file.get, order), "read back", work.parameters, progress)
        if work.settings.bdm:
            bdm_bits = sign_bdm(weights)
        for name in set(file) - (set(order) if work.settings.bdm else set()):
            file.get(name)
    if data is not None:
        with stages.stage("accuracy after"):
            model = load_model(path, device=work.settings.device)
            top1 = top1_of(model, data, work.settings.device, "accuracy after", progress)
    return Verified(mosaic_bytes(file), bdm_bits, top1)
