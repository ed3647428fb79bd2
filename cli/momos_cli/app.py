"""The commands. ``main`` is the entry point of ``momos-compress``."""

import contextlib
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter, Token, UnusedCliTokensError

from momos_compress.errors import MomosError
from momos_compress.settings import DEFAULT_C, CodebookDtype, Device, Passthrough, Protocol, Settings

if TYPE_CHECKING:
    from torch import nn

    from momos_compress.checkpoint import Checkpoint

MISTAKE = 2
"""Exit code for anything the user can mend."""

DEFAULTS = Settings()

Flag = Parameter(negative=())


def _whole(kind: Any, tokens: Sequence[Token]) -> int:
    """An integer as it is written; 1.5 is no mistake to be rounded away."""
    try:
        return int(tokens[0].value.replace("_", ""))
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is not a whole number") from None


Whole = Parameter(converter=_whole)
Model = Annotated[
    str, Parameter(help="timm name, hf-hub:ID, local-dir:PATH, org/name, directory, weights file, or digits.")
]
Output = Annotated[str | None, Parameter(name=["--output", "-o"])]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="One JSON object on standard output.")]
Quiet = Annotated[bool, Parameter(negative=(), help="No progress and no report.")]
Where = Annotated[Device, Parameter(help="auto takes the GPU where there is one.")]

app = App(
    name="momos-compress",
    help="Simplify trained networks into mosaics of reusable motifs, and measure how simple they are.",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
    version=lambda: importlib.metadata.version("momos-compress"),
)
app.register_install_completion_command()


@app.default
def compress(
    model: Model,
    /,
    *,
    c: Annotated[float | None, Parameter(help=f"Capacity: motifs over blocks, in (0, 1]. Default {DEFAULT_C}.")] = None,
    k: Annotated[int | None, Whole, Parameter(help="The number of motifs itself, instead of --c.")] = None,
    s: Annotated[int, Whole, Parameter(help="Block size, 1 to 64 values.")] = DEFAULTS.s,
    output: Output = None,
    arch: Annotated[str | None, Parameter(help="timm architecture of a bare weights file.")] = None,
    checkpoint: Annotated[str | None, Parameter(help="Weights file for the timm architecture MODEL.")] = None,
    pretrained: Annotated[bool, Parameter(help="--no-pretrained takes random weights.")] = True,
    data: Annotated[
        str | None, Parameter(help="Labelled images (folder, tar, digits): accuracy before and after.")
    ] = None,
    method: Annotated[
        Literal["faiss", "sklearn", "random"] | None, Parameter(help="How motifs are found. Default faiss.")
    ] = DEFAULTS.method,  # type: ignore[assignment]
    protocol: Annotated[
        Protocol, Parameter(help="paper: the projection of the Mosaic-of-Motifs paper.")
    ] = DEFAULTS.protocol,
    zero_motif: Annotated[bool, Parameter(help="Force the all-zero motif into the codebook.")] = DEFAULTS.zero_motif,
    codebook_dtype: Annotated[
        CodebookDtype | None, Parameter(help="Default float16 (float32 with --protocol paper).")
    ] = DEFAULTS.codebook_dtype,
    passthrough: Annotated[
        Passthrough, Parameter(help="auto stores other tensors as float16 where that is exact enough; keep never does.")
    ] = DEFAULTS.passthrough,
    include: Annotated[
        tuple[str, ...], Parameter(help="Exactly the tensors to compress: glob, or re:EXPR. Repeatable.", negative=())
    ] = DEFAULTS.include,
    exclude: Annotated[
        tuple[str, ...], Parameter(help="Tensors to leave out: glob, or re:EXPR. Repeatable.", negative=())
    ] = DEFAULTS.exclude,
    seed: Annotated[int, Whole] = DEFAULTS.seed,
    device: Where = DEFAULTS.device,
    bdm: Annotated[bool, Parameter(help="Measure complexity before and after.")] = DEFAULTS.bdm,
    dry_run: Annotated[bool, Flag, Parameter(help="Sizes, time and memory, without clustering or writing.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress a checkpoint: measure it, project it onto motifs, write the compact file, report."""
    settings = Settings(
        c=c,
        k=k,
        s=s,
        method=method,
        protocol=protocol,
        zero_motif=zero_motif,
        codebook_dtype=codebook_dtype,
        passthrough=passthrough,
        include=include,
        exclude=exclude,
        seed=seed,
        device=device,
        bdm=bdm,
    )
    from momos_cli.progress import StageProgress
    from momos_cli.render import show_plan, show_report
    from momos_compress.estimate import estimate
    from momos_compress.pipeline import compress as run
    from momos_compress.plan import output_path, plan, resolve
    from momos_compress.sources import NAMED_SOURCES
    from momos_compress.stages import Stages

    resolve(settings)  # a wrong option is told before anything is loaded
    if output is not None:
        _check_output(output)
    stages = Stages()
    with stages.stage("load"):
        weights = _open_checkpoint(
            model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed, quiet=quiet
        )
    if data is None and model in NAMED_SOURCES:
        data = NAMED_SOURCES[model].data
    if dry_run:
        work = plan(weights, settings)
        _warn((*weights.warnings, *work.selection.warnings))
        expected = estimate(weights, work)
        if json_:
            _print_json({"source": weights.source, "blocks": work.blocks, "k": work.k, "s": s, **vars(expected)})
        elif not quiet:
            show_plan(work, expected)
        return
    output_path(weights, output)
    with StageProgress(quiet=quiet) as progress:
        report = run(weights, settings, output, data=data, stages=stages, progress=progress)
    _warn(report.warnings)
    if json_:
        _print_json(report.to_json())
    elif not quiet:
        show_report(report)


app.command(compress, name="compress")  # the default command, by its name too


@app.command
def inspect(file: Annotated[str, Parameter(help="A compressed file.")], /, *, json_: Json = False) -> None:
    """Show what a compressed file holds, tensor by tensor."""
    from momos_cli.render import show_file
    from momos_compress.inspection import describe, tensor_rows
    from momos_compress.models import architecture_of
    from momos_compress.reader import MomosFile

    opened = MomosFile(file)
    if json_:
        _print_json(describe(opened))
    else:
        show_file(opened, architecture_of(opened), tensor_rows(opened))


@app.command
def export(
    file: Annotated[str, Parameter(help="A compressed file.")],
    /,
    *,
    output: Output = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the decoded weights as a plain safetensors file, for software that knows nothing of MoMos."""
    from momos_compress.export import export_dense
    from momos_compress.units import binary_size

    path = Path(output or f"{Path(file).name.removesuffix('.safetensors').removesuffix('.momos')}.dense.safetensors")
    written = export_dense(file, path)
    if json_:
        _print_json({"source": file, "output": str(path), "file_bytes": written})
    elif not quiet:
        print(f"{file} -> {path} ({binary_size(written)})")


@app.command
def evaluate(
    model: Annotated[str, Parameter(help="A compressed file, or anything that compress takes.")],
    /,
    *,
    data: Annotated[str | None, Parameter(help="Image folder (class/image), a tar of one, or digits.")] = None,
    arch: Annotated[str | None, Parameter(help="timm architecture of a bare weights file.")] = None,
    checkpoint: Annotated[str | None, Parameter(help="Weights file for the timm architecture MODEL.")] = None,
    pretrained: bool = True,
    batch_size: Annotated[int, Whole] = 256,
    seed: Annotated[int, Whole] = DEFAULTS.seed,
    device: Where = DEFAULTS.device,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure top-1 and top-5 accuracy of a dense checkpoint or a compressed file."""
    import momos_zoo  # noqa: F401  registers the demo
    from momos_cli.progress import StageProgress
    from momos_compress.accuracy import DATASETS
    from momos_compress.accuracy import evaluate as measure
    from momos_compress.plan import resolve_device
    from momos_compress.sources import NAMED_SOURCES

    if data is None and model in NAMED_SOURCES:
        data = NAMED_SOURCES[model].data
    if data is None:
        raise MomosError(f"--data is missing: an image folder, a tar of one, or one of {', '.join(sorted(DATASETS))}")
    if batch_size < 1:
        raise MomosError(f"--batch-size must be at least 1, not {batch_size}")
    place = resolve_device(device)
    network = _open_network(model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed, quiet=quiet)
    done = 0
    with StageProgress(quiet=quiet) as progress:

        def seen(images: int, total: int) -> None:
            nonlocal done
            progress("images", images - done, total)
            done = images

        found = measure(network, data, batch_size=batch_size, device=place, progress=seen)
    if json_:
        _print_json({"source": model, "data": data, "top1": found.top1, "top5": found.top5, "images": found.images})
    elif not quiet:
        print(f"{model} on {data}: top-1 {found.top1:.2f} %, top-5 {found.top5:.2f} % of {found.images:,} images")


def _open_network(
    model: str, *, arch: str | None, checkpoint: str | None, pretrained: bool, seed: int, quiet: bool
) -> "nn.Module":
    from momos_compress.models import load_model, model_of
    from momos_compress.reader import is_container

    if checkpoint is None and is_container(model):
        return load_model(model)
    opened = _open_checkpoint(model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed, quiet=quiet)
    return model_of(opened)


def _open_checkpoint(
    model: str, *, arch: str | None, checkpoint: str | None, pretrained: bool, seed: int, quiet: bool
) -> "Checkpoint":
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    import momos_zoo  # noqa: F401  registers the demo and the architectures that timm lacks
    from momos_compress.sources import is_unknown_name, open_checkpoint, unknown_source

    if quiet or not sys.stderr.isatty():
        disable_progress_bars()
    if is_unknown_name(model):
        raise MomosError(unknown_source(model, commands=_commands()))
    return open_checkpoint(model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed)


def _commands() -> list[str]:
    return [name for name in app if not name.startswith("-")]


def _check_output(output: str) -> None:
    from momos_compress.atomic import check_writable

    check_writable(Path(output).expanduser())


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _print_json(record: dict[str, Any]) -> None:
    print(json.dumps(record, allow_nan=False))


def _fail(message: str) -> NoReturn:
    if _received:
        sys.exit(128 + _received[0])
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(MISTAKE)


_received: list[int] = []


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """SIGINT and SIGTERM unwind the stack, so that temporary files go."""
    _received.append(number)
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    _received.clear()
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    try:
        _run()
    except BaseException:
        # Raised in the middle of somebody's import or compiled code, an interrupt may come out as another error.
        if _received:
            sys.exit(128 + _received[0])
        raise


def _run() -> None:
    try:
        app(sys.argv[1:], print_error=False, exit_on_error=False)
        sys.stdout.flush()
    except UnusedCliTokensError as error:
        _fail(_misspelt(sys.argv[1]) or str(error))
    except CycloptsError as error:
        _fail(str(error))
    except MomosError as error:
        _fail(str(error))
    except MemoryError:
        _fail("out of memory; raise --s, lower --c, or run on a larger machine")
    except BrokenPipeError:
        _drop_output()
        sys.exit(0)
    except OSError as error:
        _drop_output()
        _fail(f"{error.filename or 'standard output'}: {error.strerror or error}")


def _drop_output() -> None:
    """What could not be written is not tried again while the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misspelt(word: str) -> str | None:
    """What to say of a first word that is neither a command nor a model."""
    from momos_compress.sources import is_unknown_name, unknown_source

    return unknown_source(word, commands=_commands()) if is_unknown_name(word) else None
