"""What a run may be asked for; a setting's default, bounds and explanation stand here once. Imports nothing heavy."""

import dataclasses
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from momos_compress.errors import MomosError

Protocol = Literal["default", "paper"]
Passthrough = Literal["auto", "keep"]
Device = Literal["auto", "cpu", "cuda"]
Effort = Literal["quick", "default", "thorough"]
CodebookDtype = Literal["float16", "bfloat16", "float32", "int8"]

SYNTHETIC, NO_CALIBRATION = "synthetic", "none"

DEFAULT_C = 0.01
"""Capacity where neither c nor k is given: motifs are 1 % of the blocks."""

DEFAULT_S = 4
"""Values of a block where motifs are counted."""

DEFAULT_RATE_WEIGHT = 3.0
"""What a bit counts beside output error where motifs are counted."""

ABOUT = "about"
"""Key of a field's metadata under which its ``About`` stands."""

SEED_LIMIT = 2**63
"""Seeds lie below it, as torch takes them."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class About:
    """What is known of a setting beside its type and default.

    Attributes:
        help: One or two sentences for the reader; other settings stand in backticks.
        noun: What the field calls it, where its name alone says little: "capacity" for ``c``.
        least: Least value, itself allowed.
        above: Greatest value that is too small.
        most: Greatest value, itself allowed.
        below: Least value that is too great.
        offered: Table whose names the setting takes, as "module:table": it lies in a room above this one, and others
            may add to it.
        note: What an error adds to the bounds.
        unit: "seconds" of a number that the command line reads with a unit, as 10m.
    """

    help: str
    noun: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    offered: str = ""
    note: str = ""
    unit: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the table that ``offered`` points at; none where it points at none."""
        module, _, table = self.offered.partition(":")
        return tuple(getattr(import_module(module), table)) if table else ()

    @property
    def bounded(self) -> bool:
        """Whether any number is out of bounds."""
        return any(bound is not None for bound in (self.least, self.above, self.most, self.below))

    @property
    def interval(self) -> str | None:
        """Bounds in the usual notation, "1..64" or "(0, 1]"; None where a side has none, or a huge one."""
        low = self.least if self.above is None else self.above
        high = self.most if self.below is None else self.below
        if low is None or high is None or high >= SEED_LIMIT:
            return None
        if self.above is None and self.below is None:
            return f"{low:g}..{high:g}"
        return f"{'[' if self.above is None else '('}{low:g}, {high:g}{']' if self.below is None else ')'}"

    def admits(self, number: Any) -> bool:
        """Whether a number lies within the bounds; NaN and infinity never do."""
        return (
            (isinstance(number, numbers.Integral) or math.isfinite(number))
            and (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
            and (self.below is None or number < self.below)
        )

    def must(self) -> str:
        """What a number in bounds does, to follow "must": "lie in 1..64", "be positive"."""
        if self.interval is not None:
            return f"lie in {self.interval}"
        parts = []
        if self.least is not None:
            parts.append(f"at least {self.least:g}")
        if self.above is not None:
            parts.append("positive" if self.above == 0 else f"above {self.above:g}")
        if self.most is not None:
            parts.append(f"at most {self.most:g}")
        if self.below is not None:
            parts.append(f"below {'2^63' if self.below == SEED_LIMIT else f'{self.below:g}'}")
        return f"be {' and '.join(parts)}"


def setting(
    default: Value,
    *,
    help: str,
    noun: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    offered: str = "",
    note: str = "",
    unit: str = "",
) -> Value:
    """A dataclass field that says what it means and which values it takes; the arguments are those of ``About``."""
    return field(default=default, metadata={ABOUT: About(help, noun, least, above, most, below, offered, note, unit)})


def seed_setting(help: str) -> int:
    """A field for a seed, 0 by default."""
    return setting(0, help=help, least=0, below=SEED_LIMIT)


def settings_group(factory: Callable[[], Value], *, help: str) -> Value:
    """A dataclass field that holds a record of settings."""
    return field(default_factory=factory, metadata={ABOUT: About(help)})


def about(of: "dataclasses.Field[Any]") -> About:
    """What is known of a field made by ``setting``."""
    found = of.metadata[ABOUT]
    assert isinstance(found, About)
    return found


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """The types that a field's annotation allows: those of a union one by one, of a tuple those of its items."""
    if get_origin(hint) is Literal or not get_args(hint):
        return (hint,)
    return tuple(kind for part in get_args(hint) if part is not Ellipsis for kind in kinds_of(part))


def choices_of(hint: Any) -> tuple[str, ...]:
    """The words that a field's annotation allows; none where it is no choice of words."""
    return tuple(word for kind in kinds_of(hint) if get_origin(kind) is Literal for word in get_args(kind))


def check_settings(settings: Any) -> None:
    """Check a record's choices and bounds, and those of the records in it.

    Args:
        settings: An instance of a dataclass whose fields are made by ``setting`` or ``settings_group``.

    Raises:
        MomosError: Names the first setting out of bounds, its bounds and its value.
    """
    hints = get_type_hints(type(settings))
    for each in dataclasses.fields(settings):
        value = getattr(settings, each.name)
        if dataclasses.is_dataclass(value):
            check_settings(value)
        elif value is not None:
            _check(each.name, value, hints[each.name], about(each))


def _check(name: str, value: Any, hint: Any, known: About) -> None:
    choices = choices_of(hint)
    if choices and value not in choices:
        raise MomosError(f"unknown `{name}` {value!r}; choose from {', '.join(choices)}", setting=name)
    if not known.bounded:
        return
    label = f"{known.noun} `{name}`".lstrip()
    whole = int in kinds_of(hint)
    for number in value if isinstance(value, tuple) else (value,):
        if not isinstance(number, numbers.Integral if whole else numbers.Real):
            raise MomosError(f"{label} must be a {'whole ' if whole else ''}number, not {number!r}", setting=name)
        if not known.admits(number):
            shown = f"{number}" if whole else f"{float(number):g}"
            note = f"; {known.note}" if known.note else ""
            raise MomosError(f"{label} must {known.must()}, not {shown}{note}", setting=name)


@dataclass(frozen=True)
class Settings:
    """One compression's choices.

    Examples:
        >>> import momos_compress as mc
        >>> mc.Settings(c=0.01, s=8).s
        8
    """

    c: float | None = setting(
        None, help=f"Capacity: motifs over blocks. Default {DEFAULT_C}.", noun="capacity", above=0, most=1
    )
    k: int | None = setting(
        None, help="The number of motifs itself, instead of `c`.", noun="the number of motifs", least=1
    )
    bits: float | None = setting(
        None,
        help="Bits of the file for each weight: motifs are then single levels (`s=1`), as many as it takes, in rows "
        "and columns whose scales follow from what the network computes.",
        noun="bits a weight",
        above=0,
        most=16,
    )
    quality: Literal["high", "balanced", "small"] = setting(
        "balanced", help="`bits` in words, where neither these nor `c`, `k` or `s` are given: 4.5, 3.5 or 2.75."
    )
    s: int | None = setting(
        None,
        help="Block size, in values. Default 4 with `c` or `k`; a target tries several where none is given.",
        noun="block size",
        least=1,
        most=64,
    )
    method: str | None = setting(
        None,
        help="How motifs are found: fitted to what layers compute (hessian, the default with calibration), or to the "
        "weights alone (else faiss, where it is installed).",
        offered="momos_compress.fitting.methods:METHODS",
    )
    protocol: Protocol = setting("default", help="paper: the projection of the Mosaic-of-Motifs paper.")
    zero_motif: bool = setting(True, help="Force the all-zero motif into the codebook.")
    codebook_dtype: CodebookDtype | None = setting(
        None,
        help="Default int8 where that costs next to nothing, else float16 (float32 with `protocol='paper'`).",
    )
    passthrough: Passthrough = setting(
        "auto",
        help="auto stores other tensors in one or two bytes a value where that is exact enough; keep never does.",
    )
    include: tuple[str, ...] = setting((), help="Exactly the tensors to compress: glob, or re:EXPR. Repeatable.")
    exclude: tuple[str, ...] = setting((), help="Tensors to leave out: glob, or re:EXPR. Repeatable.")
    seed: int = seed_setting("Seed of every random draw.")
    device: Device = setting("auto", help="auto takes the GPU where there is one.")
    bdm: bool = setting(True, help="Measure complexity before and after.")
    coding: str | None = setting(
        None,
        help="How indices are stored: by how often each motif is used (ans, the default), that by row and column "
        "(classes, smaller still), that by the sum of a row's and a column's level (spread, for weights that differ by "
        "factors of tens between rows and columns), in whole bits (packed, the default with `protocol='paper'`), or as "
        "digits of base k (radix, for up to 16 motifs).",
        offered="momos_compress.coding.registry:CODINGS",
    )
    calibrate: str | None = setting(
        None,
        help="Inputs without labels that motifs are fitted to: image folder, tar, text file, data set directory; "
        "synthetic makes up what the network takes (the default for a trained one); none does without.",
    )
    samples: int | None = setting(None, help="Calibration samples. Default 1,024, or all there are.", least=1)
    rate_weight: float | None = setting(
        None,
        help="What a bit of the file counts beside output error: more gives a smaller file; at 1 as much as more "
        "motifs would buy in theory. Default 3, and 1 with `bits`. A target tries several where none is given.",
        least=0,
        most=100,
    )
    exceptions: bool = setting(
        True,
        help="With calibration, store weights as they are whose errors would cost more than their bytes, unless "
        "`include` names what to take.",
    )
    effort: Effort = setting(
        "default",
        help="With calibration, time for the network and the fit where no `time_limit` is given: about 1 (quick), 4 or "
        "20 minutes (thorough). Small networks take less, and the same for each.",
    )
    time_limit: float | None = setting(
        None,
        help="With calibration, seconds that the network and the fit may take, instead of `effort`.",
        above=0,
        unit="seconds",
    )
    steps: str | None = setting(
        None,
        help="With calibration, samples, passes, rounds and epochs that no time limit changes, as a report writes "
        "them: moments=512,epochs=0.",
    )
