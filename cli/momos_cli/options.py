"""What several commands share: the kinds of their options, how they open a model, how they answer."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter, Token

from momos_compress.errors import MomosError
from momos_compress.settings import Device

if TYPE_CHECKING:
    from momos_compress.sources.checkpoint import Checkpoint

COMMANDS: list[str] = []
"""Names of the commands, for the hint to a misspelt one; ``app`` fills it."""

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
Half = Annotated[bool, Flag, Parameter(help="Matrix products of a step in bfloat16.")]
Where = Annotated[Device, Parameter(help="auto takes the GPU where there is one.")]


Number = TypeVar("Number", int, float)


def numbers(option: str, text: str, kind: Callable[[str], Number]) -> list[Number]:
    """A list as it is written, 1,2,4; MomosError for anything else."""
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise MomosError(f"{option} {text!r} is no list of {what}; write it as 1,2,4") from None


def open_model(
    model: str, *, arch: str | None, checkpoint: str | None, pretrained: bool, seed: int, quiet: bool
) -> "Checkpoint":
    """The weights that the user named; a word that names nothing is told with close models and commands."""
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    import momos_zoo  # noqa: F401  registers the demo and the architectures that timm lacks
    from momos_compress.sources.open import is_unknown_name, open_checkpoint, unknown_source

    if quiet or not sys.stderr.isatty():
        disable_progress_bars()
    if is_unknown_name(model):
        raise MomosError(unknown_source(model, commands=COMMANDS))
    return open_checkpoint(model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed)


def own_data(model: str, calibrate: str | None = None) -> str | None:
    """Labelled images that an embedded model brings along, but those that its motifs are fitted to."""
    import momos_zoo  # noqa: F401  registers the demo and its data
    from momos_compress.data.registry import same_data
    from momos_compress.sources.open import NAMED_SOURCES

    data = NAMED_SOURCES[model].data if model in NAMED_SOURCES else None
    return None if data is not None and calibrate is not None and same_data(data, calibrate) else data


def warn(warnings: Iterable[str]) -> None:
    """Each warning as a line on standard error."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def print_json(record: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(record, allow_nan=False))
