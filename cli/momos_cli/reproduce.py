"""``momos-compress reproduce``: a paper's study from one command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from momos_cli.options import Flag, Json, Quiet, Whole, numbers, output_option, print_json
from momos_cli.records import Fields, Given, from_records
from momos_compress.errors import MomosError
from momos_compress.finetuning.settings import FinetuneSettings

if TYPE_CHECKING:
    from momos_compress.reproduce.momos import StudyNetwork

EPOCHS, FULL_EPOCHS = 3, 200


@from_records
def reproduce(
    study: Annotated[Literal["momos"], Parameter(help="momos: the training study of the Mosaic-of-Motifs paper.")],
    /,
    *,
    data: Annotated[str, Parameter(help="Images to train on, in classes: CIFAR-10 as a folder, or a tar of one.")],
    test: Annotated[str | None, Parameter(help="Images that accuracy is of; without, the validation part's.")] = None,
    figures: Annotated[str, Parameter(help="Which of the paper's figures.")] = "3,4,5",
    networks: Annotated[
        str | None, Parameter(help="timm names instead of momos_mlp, cifar_resnet20 and cifar_vit.")
    ] = None,
    c: Annotated[str, Parameter(help="Capacities.")] = "0.005,0.01,0.05,0.1",
    s: Annotated[
        str | None,
        Parameter(help="Block sizes of figure 4. Default 2,4,8; for the vision transformer 4, unless named or --full."),
    ] = None,
    epochs: Annotated[int | None, Whole, Parameter(help=f"Default {EPOCHS}; with --full {FULL_EPOCHS}.")] = None,
    seeds: Annotated[int, Whole, Parameter(help="Runs of each combination.")] = 1,
    full: Annotated[bool, Flag, Parameter(help=f"The paper's length of training: {FULL_EPOCHS} epochs.")] = False,
    settings: Annotated[Given[FinetuneSettings], Fields(only=("batch_size", "workers", "bfloat16", "device"))],
    output: Annotated[str, output_option("Directory of runs, momos.csv and figures; resumed if there.")] = "momos",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train networks by the paper's scheme, and draw distortion over epochs and accuracy over capacity."""
    import momos_zoo  # noqa: F401  registers the paper's networks
    from momos_cli.progress import StageProgress
    from momos_compress.finetuning.setup import TrainingData
    from momos_compress.reproduce.momos import SIZES, reproduce_momos, study_runs

    base = settings.made(epochs=(FULL_EPOCHS if full else EPOCHS) if epochs is None else epochs)
    base.resolved()
    chosen = _networks(networks)
    wanted = numbers("--figures", figures, int)
    sizes = SIZES if s is None else numbers("--s", s, int)
    whole = full or networks is not None or s is not None
    runs = study_runs(chosen, wanted, numbers("--c", c, float), sizes, seeds, whole=whole)
    out = Path(output).expanduser()
    with StageProgress(quiet=quiet) as progress:
        found = reproduce_momos(
            runs, TrainingData(data, base.validation, test), out, base, figures=wanted, progress=progress
        )
    if json_:
        print_json(
            {
                "study": study,
                "runs": [run.name for run in runs],
                "ran": found.ran,
                "kept": found.kept,
                "csv": str(found.csv),
                "figures": [str(path) for path in found.figures],
            }
        )
    elif not quiet:
        print(f"{study}: {found.ran} runs, {found.kept} kept -> {found.csv}, {', '.join(map(str, found.figures))}")


def _networks(names: str | None) -> "tuple[StudyNetwork, ...]":
    """The networks that the user named, else the paper's."""
    from momos_compress.reproduce.momos import NETWORKS, StudyNetwork

    if names is None:
        return NETWORKS
    known = {network.name: network for network in NETWORKS}
    words = [word.strip() for word in names.split(",") if word.strip()]
    if not words:
        raise MomosError("--networks is empty; name timm's, such as cifar_resnet20")
    return tuple(known.get(word) or StudyNetwork(word, 3, residual="resnet" in word) for word in words)
