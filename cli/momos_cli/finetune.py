"""``momos-compress finetune``: train a network that stays a mosaic of motifs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from momos_cli.exits import option
from momos_cli.options import Flag, Json, Origin, Quiet, open_model, output_option, print_json
from momos_cli.records import Fields, Given, from_records
from momos_compress.errors import MomosError
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.settings import Settings

if TYPE_CHECKING:
    from momos_compress.container.reader import MomosFile
    from momos_compress.finetuning.setup import TrainingData
    from momos_compress.sources.checkpoint import Checkpoint

COMPRESSION = Fields(
    only=("c", "k", "s", "rate_weight", "coding", "calibrate"),
    help={
        "s": "Block size, in values.",
        "rate_weight": "What a bit of the file counts beside output error: more gives a smaller file.",
        "coding": "How indices are stored: by how often each motif is used (ans, the default), that by row and column "
        "(classes), or in whole bits (packed).",
        "calibrate": "Inputs that motifs are fitted to, as for compress. Default: samples of `data` trained on.",
    },
    group="Compression, which a dense model begins with",
)


@from_records
def finetune(
    model: Annotated[
        str, Parameter(help="A compressed file, or anything that compress takes, which is then compressed first.")
    ],
    /,
    *,
    data: Annotated[
        str | None, Parameter(help="What to train on: image folder, tar, table of texts. Default: the demo's own.")
    ] = None,
    validation: Annotated[
        str, Parameter(help="What the best epoch is chosen by: data, or the share of --data held out, within (0, 1).")
    ] = f"{FinetuneSettings.validation}",
    test: Annotated[str | None, Parameter(help="Labelled data that are reported on, and decide nothing.")] = None,
    teacher: Annotated[str | None, Parameter(help="The original network of a compressed file, to learn from.")] = None,
    output: Annotated[str, output_option("Directory of the run: its file, metrics and checkpoints.")] = "finetune",
    resume: Annotated[bool, Flag, Parameter(help="Go on with the run that is there.")] = False,
    settings: Annotated[Given[FinetuneSettings], Fields(but=("validation", "betas"))],
    compression: Annotated[Given[Settings], COMPRESSION],
    origin: Given[Origin],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train under the mosaic constraint and write the same compact file, with metrics and checkpoints; resumable."""
    share = _share(validation)
    made = settings.made() if share is None else settings.made(validation=share)
    made.resolved()  # a wrong option is told before anything is loaded
    from momos_cli.finetune_view import show_finetuned
    from momos_cli.progress import StageProgress
    from momos_compress.finetuning.processes import is_main
    from momos_compress.finetuning.run import finetune as run
    from momos_compress.planning.choices import check_compression

    start = compression.made(seed=made.seed, device=made.device)
    check_compression(start)
    where = _data(teacher or model, data, validation if share is None else share, test)
    source, original = _networks(model, teacher, compression, origin.made(), seed=made.seed, quiet=quiet)
    quiet = quiet or not is_main()
    with StageProgress(quiet=quiet) as progress:
        report = run(
            source,
            where,
            made,
            Path(output).expanduser(),
            compression=start,
            teacher=original,
            resume=resume,
            progress=progress,
        )
    if not is_main():
        return
    if json_:
        print_json(report.to_json())
    elif not quiet:
        show_finetuned(report)


def _share(validation: str) -> float | None:
    """A share where the word is a number, else None: it names data."""
    try:
        return float(validation)
    except ValueError:
        return None


def _data(network: str, train: str | None, validation: str | float, test: str | None) -> "TrainingData":
    """The data that the user named, else those that an embedded network brings along."""
    import momos_zoo  # noqa: F401  registers the demo and its data
    from momos_compress.finetuning.setup import TrainingData
    from momos_compress.sources.open import NAMED_SOURCES

    named = NAMED_SOURCES.get(network)
    if train is None and named is not None:
        train, test = named.train, test or named.data
    if train is None:
        raise MomosError(
            "--data is missing: what to train on, such as an image folder, a tar of one, or a table of texts"
        )
    return TrainingData(train, validation, test)


def _networks(
    model: str, teacher: str | None, compression: Given[Settings], origin: Origin, *, seed: int, quiet: bool
) -> "tuple[MomosFile | Checkpoint, Checkpoint | None]":
    """What is trained, and the network that it learns from where one is named."""
    from momos_compress.container.reader import MomosFile, is_container

    def opened(name: str) -> "Checkpoint":
        return open_model(name, origin, seed=seed, quiet=quiet)

    if origin.checkpoint is not None or not is_container(model):
        if teacher is not None:
            raise MomosError("--teacher is for a compressed file; a dense network is its own teacher")
        return opened(model), None
    if compression.values:
        *others, last = map(option, COMPRESSION.only)
        raise MomosError(f"{model} is compressed already; {', '.join(others)} and {last} are for others")
    return MomosFile(model), None if teacher is None else opened(teacher)
