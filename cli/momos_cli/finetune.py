"""``momos-compress finetune``: train a network that stays a mosaic of motifs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from momos_cli.options import Flag, Half, Json, Quiet, Where, Whole, open_model, print_json
from momos_compress.errors import MomosError
from momos_compress.finetuning.settings import Augment, BatchNorm, FinetuneSettings, Loss, Mode, Topology
from momos_compress.settings import Coding, Settings

if TYPE_CHECKING:
    from momos_compress.sources.checkpoint import Checkpoint

DEFAULTS, COMPRESSION = FinetuneSettings(), Settings()


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
        str, Parameter(help="What the best epoch is chosen by: data, or the share of --data held out.")
    ] = f"{DEFAULTS.validation}",
    test: Annotated[str | None, Parameter(help="Labelled data that are reported on, and decide nothing.")] = None,
    teacher: Annotated[str | None, Parameter(help="The original network of a compressed file, to learn from.")] = None,
    output: Annotated[
        str, Parameter(name=["--output", "-o"], help="Directory of the run: its file, metrics and checkpoints.")
    ] = "finetune",
    resume: Annotated[bool, Flag, Parameter(help="Go on with the run that is there.")] = False,
    mode: Annotated[
        Mode,
        Parameter(
            help="codebook: the mosaic stays, motifs, scales, norms and biases learn; paper: the paper's scheme."
        ),
    ] = DEFAULTS.mode,
    epochs: Annotated[int, Whole] = DEFAULTS.epochs,
    loss: Annotated[
        Loss | None,
        Parameter(help="Default: distil where the original network is known, else labels; in mode paper labels."),
    ] = DEFAULTS.loss,
    batch_size: Annotated[int, Whole] = DEFAULTS.batch_size,
    accumulate: Annotated[int, Whole, Parameter(help="Batches to a step.")] = DEFAULTS.accumulate,
    learning_rate: Annotated[
        float | None, Parameter(help="Of motifs, default 0.006; in mode paper of all weights, 0.01.")
    ] = DEFAULTS.learning_rate,
    norm_learning_rate: Annotated[float, Parameter(help="Of norms and biases.")] = DEFAULTS.norm_learning_rate,
    scale_learning_rate: Annotated[
        float, Parameter(help="Of the rows' scales, in eighths of an octave.")
    ] = DEFAULTS.scale_learning_rate,
    optimiser: Annotated[
        str | None, Parameter(help="A name of timm's. Default adam; in mode paper momentum.")
    ] = DEFAULTS.optimiser,
    weight_decay: float = DEFAULTS.weight_decay,
    warmup_steps: Annotated[int, Whole] = DEFAULTS.warmup_steps,
    temperature: Annotated[float, Parameter(help="Of distillation.")] = DEFAULTS.temperature,
    smoothing: Annotated[float, Parameter(help="Of labels.")] = DEFAULTS.smoothing,
    batch_norm: Annotated[
        BatchNorm | None,
        Parameter(help="Whether running statistics stay as they are. Default fixed; in mode paper running."),
    ] = DEFAULTS.batch_norm,
    augment: Annotated[
        Augment, Parameter(help="auto: crops of large images, shifts of small ones, mirrored where in colour.")
    ] = DEFAULTS.augment,
    bfloat16: Half = DEFAULTS.bfloat16,
    save_every: Annotated[int, Whole, Parameter(help="Steps between checkpoints in an epoch; 0: only after it.")] = (
        DEFAULTS.save_every
    ),
    workers: Annotated[int, Whole, Parameter(help="Processes that decode images.")] = DEFAULTS.workers,
    complexity: Annotated[bool, Flag, Parameter(help="Measure the weights' BDM after every epoch.")] = (
        DEFAULTS.complexity
    ),
    topology: Annotated[
        Topology | None,
        Parameter(help="Mode paper: keep blocks at zero but for a random, regular or banded pattern of them."),
    ] = DEFAULTS.topology,
    density: Annotated[float, Parameter(help="Share of blocks that a topology leaves.")] = DEFAULTS.density,
    q: Annotated[
        int, Whole, Parameter(help="Mode paper: bits that weights are rounded to in every pass; 32: none.")
    ] = DEFAULTS.q,
    tracker: Annotated[str | None, Parameter(help="Tell metrics to tensorboard or wandb as well.")] = DEFAULTS.tracker,
    c: Annotated[float | None, Parameter(help="As for compress, which runs first on a dense model.")] = None,
    k: Annotated[int | None, Whole, Parameter(help="As for compress.")] = None,
    s: Annotated[int | None, Whole, Parameter(help="As for compress.")] = None,
    rate_weight: Annotated[float | None, Parameter(help="As for compress.")] = None,
    coding: Annotated[Coding | None, Parameter(help="As for compress.")] = None,
    calibrate: Annotated[
        str | None, Parameter(help="As for compress; default: samples of --data that are trained on.")
    ] = None,
    arch: Annotated[str | None, Parameter(help="timm architecture of a bare weights file.")] = None,
    checkpoint: Annotated[str | None, Parameter(help="Weights file for the timm architecture MODEL.")] = None,
    pretrained: Annotated[bool, Parameter(help="--no-pretrained takes random weights.")] = True,
    seed: Annotated[int, Whole] = DEFAULTS.seed,
    device: Where = DEFAULTS.device,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train under the mosaic constraint and write the same compact file, with metrics and checkpoints; resumable."""
    settings = FinetuneSettings(
        mode=mode,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        loss=loss,
        temperature=temperature,
        smoothing=smoothing,
        learning_rate=learning_rate,
        norm_learning_rate=norm_learning_rate,
        scale_learning_rate=scale_learning_rate,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        optimiser=optimiser,
        batch_norm=batch_norm,
        augment=augment,
        validation=_share(validation) or DEFAULTS.validation,
        bfloat16=bfloat16,
        workers=workers,
        save_every=save_every,
        complexity=complexity,
        topology=topology,
        density=density,
        q=q,
        tracker=tracker,
        seed=seed,
        device=device,
    )
    settings.resolved()  # a wrong option is told before anything is loaded
    import momos_zoo  # noqa: F401  registers the demo and its data
    from momos_cli.progress import StageProgress
    from momos_cli.render import show_finetuned
    from momos_compress.container.reader import MomosFile, is_container
    from momos_compress.finetuning.processes import is_main
    from momos_compress.finetuning.run import Data
    from momos_compress.finetuning.run import finetune as run
    from momos_compress.planning.plan import resolve
    from momos_compress.sources.open import NAMED_SOURCES

    compression = Settings(
        c=c, k=k, s=COMPRESSION.s if s is None else s, calibrate=calibrate, seed=seed, device=device,
        rate_weight=COMPRESSION.rate_weight if rate_weight is None else rate_weight, coding=coding,
    )  # fmt: skip
    resolve(compression)
    named = NAMED_SOURCES.get(teacher or model)
    if data is None and named is not None:
        data, test = named.train, test or named.data
    if data is None:
        raise MomosError(
            "--data is missing: what to train on, such as an image folder, a tar of one, or a table of texts"
        )
    where = Data(data, _share(validation) or validation, test)

    def opened(name: str) -> "Checkpoint":
        return open_model(name, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed, quiet=quiet)

    compressed = checkpoint is None and is_container(model)
    if compressed and any(value is not None for value in (c, k, s, rate_weight, coding, calibrate)):
        raise MomosError(
            f"{model} is compressed already; --c, --k, --s, --rate-weight, --coding and --calibrate are for others"
        )
    if teacher is not None and not compressed:
        raise MomosError("--teacher is for a compressed file; a dense network is its own teacher")
    source = MomosFile(model) if compressed else opened(model)
    quiet = quiet or not is_main()
    with StageProgress(quiet=quiet) as progress:
        report = run(
            source,
            where,
            settings,
            Path(output).expanduser(),
            compression=compression,
            teacher=None if teacher is None else opened(teacher),
            resume=resume,
            tell=progress,
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
