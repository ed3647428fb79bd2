"""What several commands share: the kinds of their options, how they open a model, how they answer."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from momos_cli.exits import commands, with_options
from momos_cli.records import whole
from momos_compress.errors import MomosError
from momos_compress.settings import setting

if TYPE_CHECKING:
    from momos_compress.sources.checkpoint import Checkpoint

Flag = Parameter(negative=())
Whole = Parameter(converter=whole)
Model = Annotated[
    str, Parameter(help="timm name, hf-hub:ID, local-dir:PATH, org/name, directory, weights file, or digits.")
]
FileOrModel = Annotated[str, Parameter(help="A compressed file, or anything that compress takes.")]
Labelled = Annotated[str | None, Parameter(help="Labelled images (folder, tar, digits): accuracy before and after.")]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="One JSON object on standard output.")]
Quiet = Annotated[bool, Parameter(negative=(), help="No progress and no report.")]


def output_option(help: str) -> Parameter:
    """``--output``, ``-o``: where results go."""
    return Parameter(name=["--output", "-o"], help=help)


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Origin:
    """Where a model's architecture and weights come from, where its name does not say."""

    arch: str | None = setting(None, help="timm architecture of a bare weights file.")
    checkpoint: str | None = setting(None, help="Weights file for the timm architecture MODEL.")
    pretrained: bool = setting(True, help="`pretrained=False` takes random weights.")


def numbers(option: str, text: str, kind: Callable[[str], Number]) -> list[Number]:
    """Read a list as it is written, 1,2,4; MomosError for anything else."""
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise MomosError(f"{option} {text!r} is no list of {what}; write it as 1,2,4") from None


def open_model(model: str, origin: Origin, *, seed: int, quiet: bool) -> "Checkpoint":
    """The weights that the user named; a word that names nothing is told with close models and commands."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    import momos_zoo  # noqa: F401  registers the demo and the architectures that timm lacks
    from momos_compress.sources.open import is_unknown_name, open_checkpoint, unknown_source

    if quiet or not sys.stderr.isatty():
        disable_progress_bars()
    if is_unknown_name(model):
        raise MomosError(unknown_source(model, commands=commands()))
    return open_checkpoint(
        model, arch=origin.arch, checkpoint=origin.checkpoint, pretrained=origin.pretrained, seed=seed
    )


def own_data(model: str, calibrate: str | None = None) -> str | None:
    """Labelled images that an embedded model brings along, except those that its motifs are fitted to."""
    import momos_zoo  # noqa: F401  registers the demo and its data
    from momos_compress.data.registry import same_data
    from momos_compress.sources.open import NAMED_SOURCES

    data = NAMED_SOURCES[model].data if model in NAMED_SOURCES else None
    return None if data is not None and calibrate is not None and same_data(data, calibrate) else data


def print_json(record: dict[str, Any]) -> None:
    """One JSON object on standard output; its warnings name options."""
    if "warnings" in record:
        record = {**record, "warnings": [with_options(warning) for warning in record["warnings"]]}
    print(json.dumps(record, allow_nan=False))
