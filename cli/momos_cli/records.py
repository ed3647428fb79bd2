"""Records of settings as options: what a field says of itself is what the command line offers, shows and checks."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from cyclopts import Parameter, Token

from momos_cli.exits import with_options
from momos_compress.common.units import parse_duration
from momos_compress.errors import MomosError
from momos_compress.settings import about, check_settings, kinds_of

Record = TypeVar("Record")


@dataclass(frozen=True)
class Fields:
    """Which fields of a record a command offers.

    Attributes:
        only: Their names; by default all.
        but: Names of fields left out.
        help: Texts instead of the record's own, by name.
        group: Title under which ``--help`` shows them.
    """

    only: tuple[str, ...] = ()
    but: tuple[str, ...] = ()
    help: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True)
class Given(Generic[Record]):
    """The settings of a record that the user gave; ``"s" in given`` says whether one of them is ``s``."""

    record: type[Record]
    values: Mapping[str, Any]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def made(self, **others: Any) -> Record:
        """The record with what was given, ``others``, and its defaults; MomosError names what is out of bounds."""
        record = self.record(**{**others, **self.values})
        check_settings(record)
        return record


def from_records(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command's options of its records.

    A parameter annotated ``Given[R]``, or ``Annotated[Given[R], Fields(...)]``, gives way to an option for each field
    of the dataclass R; the command gets what was given.
    """
    records: dict[str, type] = {}
    owners: dict[str, str] = {}
    parameters: list[inspect.Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for each in inspect.signature(command).parameters.values():
        kind, *notes = get_args(hints[each.name]) if get_origin(hints[each.name]) is Annotated else [hints[each.name]]
        if get_origin(kind) is not Given:
            parameters.append(each.replace(annotation=hints[each.name]))
            continue
        (records[each.name],) = get_args(kind)
        chosen = next((note for note in notes if isinstance(note, Fields)), Fields())
        offered = _parameters(records[each.name], chosen)
        owners.update({option.name: each.name for option in offered})
        parameters += offered

    @functools.wraps(command)
    def run(*words: Any, **options: Any) -> None:
        values: dict[str, dict[str, Any]] = {name: {} for name in records}
        for option in list(options):
            if option in owners:
                values[owners[option]][option] = options.pop(option)
        command(*words, **options, **{name: Given(records[name], values[name]) for name in records})

    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _parameters(record: type, chosen: Fields) -> list[inspect.Parameter]:
    """A keyword for each field that the command offers."""
    hints = get_type_hints(record)
    fields = {each.name: each for each in dataclasses.fields(record)}
    return [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=fields[name].default,
            annotation=_annotation(fields[name], hints[name], chosen),
        )
        for name in chosen.only or fields
        if name not in chosen.but
    ]


def _annotation(of: "dataclasses.Field[Any]", hint: Any, chosen: Fields) -> Any:
    known = about(of)
    text = chosen.help.get(of.name, known.help)
    if known.interval is not None:
        text = f"{text} Within {known.interval}."
    if known.names:
        hint = Literal[known.names] if of.default is not None else Literal[known.names] | None
    rules = [Parameter(help=with_options(text, lambda flag: True))]
    if chosen.group is not None:
        rules.append(Parameter(group=chosen.group))
    if int in kinds_of(hint):
        rules.append(Parameter(converter=whole))
    if known.unit == "seconds":
        rules.append(Parameter(converter=seconds))
    if of.default is False or of.default == ():
        rules.append(Parameter(negative=()))
    return Annotated[(hint, *rules)]


def whole(kind: Any, tokens: Sequence[Token]) -> int:
    """An integer as it is written; 1.5 is no mistake to be rounded away."""
    try:
        return int(tokens[0].value.replace("_", ""))
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is not a whole number") from None


def seconds(kind: Any, tokens: Sequence[Token]) -> float:
    """A time as it is written: 90s, 10m, 2h."""
    try:
        return parse_duration(tokens[0].value)
    except MomosError as error:
        raise ValueError(str(error)) from None
