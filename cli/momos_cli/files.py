"""``inspect``, ``export`` and ``evaluate``: what is done with a file that is there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from momos_cli.exits import warn
from momos_cli.options import FileOrModel, Json, Origin, Quiet, Whole, open_model, output_option, own_data, print_json
from momos_cli.records import Fields, Given, from_records
from momos_compress.errors import MomosError
from momos_compress.settings import Settings

if TYPE_CHECKING:
    from torch import nn

    from momos_compress.container.reader import MomosFile
    from momos_compress.networks.fidelity import Fidelity


@from_records
def inspect(
    file: Annotated[str, Parameter(help="A compressed file.")],
    /,
    *,
    against: Annotated[
        str | None, Parameter(help="The model it was made from: its outputs beside this file's, on --data.")
    ] = None,
    data: Annotated[
        str | None,
        Parameter(name=["--data", "--calibrate"], help="Inputs for --against, without labels; as for calibration."),
    ] = None,
    settings: Annotated[
        Given[Settings],
        Fields(only=("samples", "seed", "device"), help={"samples": "Inputs taken. Default 256, or all there are."}),
    ],
    origin: Annotated[
        Given[Origin],
        Fields(only=("arch",), help={"arch": "timm architecture of --against, where it is a bare file."}),
    ],
    json_: Json = False,
) -> None:
    """Show what a compressed file holds, tensor by tensor, and what share of bytes and error each has."""
    from momos_cli.file_view import show_file
    from momos_compress.container.inspection import describe, tensor_rows
    from momos_compress.container.reader import MomosFile
    from momos_compress.networks.load import architecture_of

    if (against is None) != (data is None):
        raise MomosError("--against MODEL and --data DATA go together: the original runs on the data")
    if against is None and ("samples" in settings or "arch" in origin):
        raise MomosError("--samples and --arch go with --against MODEL")
    made = settings.made()
    opened = MomosFile(file)
    errors = compared = None
    if against is not None and data is not None:
        errors, fidelity = _compare(opened, against, data, made, origin.made())
        compared = (against, fidelity)
    if json_:
        record = describe(opened, errors)
        if compared is not None:
            record["against"] = {"source": against, "fidelity": compared[1].to_json()}
        print_json(record)
    else:
        show_file(opened, architecture_of(opened), tensor_rows(opened, errors), against=compared)


def _compare(
    file: "MomosFile", against: str, data: str, settings: Settings, origin: Origin
) -> "tuple[dict[str, float], Fidelity]":
    """What each compressed tensor alone does to the original's outputs, and what the whole file does."""
    from momos_cli.progress import StageProgress
    from momos_compress.common.device import resolve_device
    from momos_compress.networks.load import architecture_of, load_model, model_of
    from momos_compress.networks.meters import output_meter
    from momos_compress.networks.sensitivity import sensitivity

    place = resolve_device(settings.device)
    original = open_model(against, origin, seed=settings.seed, quiet=False)
    network = model_of(original, device=place)
    with StageProgress(quiet=False) as progress:
        errors, inputs = sensitivity(
            file,
            network,
            data,
            samples=settings.samples,
            seed=settings.seed,
            source=original.source,
            device=place,
            progress=progress,
        )
        progress("compare outputs", 0, 0)
        architecture = original.architecture if architecture_of(file) is None else None
        if architecture is None:
            compressed = load_model(file.path, device=place)
        else:
            compressed = architecture.with_weights({name: file.get(name) for name in file}).to(place)
        fidelity = output_meter(network, inputs, held_out=None, device=place)(compressed)
    warn(inputs.warnings)
    return errors, fidelity


def export(
    file: Annotated[str, Parameter(help="A compressed file.")],
    /,
    *,
    output: Annotated[str | None, output_option("The file. Default: the file's name with .dense.safetensors.")] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the decoded weights as a plain safetensors file, for software that knows nothing of MoMos."""
    from momos_compress.common.units import binary_size
    from momos_compress.networks.export import export

    path = Path(output or f"{Path(file).name.removesuffix('.safetensors').removesuffix('.momos')}.dense.safetensors")
    written = export(file, path)
    if json_:
        print_json({"source": file, "output": str(path), "file_bytes": written})
    elif not quiet:
        print(f"{file} -> {path} ({binary_size(written)})")


@from_records
def evaluate(
    model: FileOrModel,
    /,
    *,
    data: Annotated[str | None, Parameter(help="Image folder (class/image), a tar of one, or digits.")] = None,
    origin: Given[Origin],
    batch_size: Annotated[int, Whole, Parameter(help="Images in a batch.")] = 256,
    settings: Annotated[Given[Settings], Fields(only=("seed", "device"))],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure top-1 and top-5 accuracy of a dense checkpoint or a compressed file."""
    import momos_zoo  # noqa: F401  registers the demo
    from momos_cli.progress import StageProgress
    from momos_compress.common.device import resolve_device
    from momos_compress.data.registry import DATASETS
    from momos_compress.networks.accuracy import evaluate as measure

    data = data or own_data(model)
    if data is None:
        raise MomosError(f"--data is missing: an image folder, a tar of one, or one of {', '.join(sorted(DATASETS))}")
    if batch_size < 1:
        raise MomosError(f"--batch-size must be at least 1, not {batch_size}")
    made = settings.made()
    place = resolve_device(made.device)
    network = _open_network(model, origin.made(), seed=made.seed, quiet=quiet)
    with StageProgress(quiet=quiet) as progress:
        found = measure(
            network,
            data,
            batch_size=batch_size,
            device=place,
            progress=lambda _, done, total: progress("images", done, total),
        )
    if json_:
        print_json({"source": model, "data": data, "top1": found.top1, "top5": found.top5, "images": found.images})
    elif not quiet:
        print(f"{model} on {data}: top-1 {found.top1:.2f} %, top-5 {found.top5:.2f} % of {found.images:,} images")


def _open_network(model: str, origin: Origin, *, seed: int, quiet: bool) -> "nn.Module":
    from momos_compress.container.reader import is_container
    from momos_compress.networks.load import load_model, model_of

    if origin.checkpoint is None and is_container(model):
        return load_model(model)
    return model_of(open_model(model, origin, seed=seed, quiet=quiet))
