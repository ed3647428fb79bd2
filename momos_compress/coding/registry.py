"""The codings of indices by name: the one table that writer, reader and command line share."""

from importlib import import_module
from typing import TYPE_CHECKING

from momos_compress.errors import MomosError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from momos_compress.coding.protocol import IndexCoding

CODINGS: dict[str, "str | IndexCoding"] = {
    "packed": "momos_compress.coding.packed:PACKED",
    "ans": "momos_compress.coding.ans:ANS",
    "classes": "momos_compress.coding.classes:BY_CLASS",
    "radix": "momos_compress.coding.radix:RADIX",
}
"""Name of a coding, as recipes and settings have it -> the coding, or where it lies: names are told without torch."""


def register_coding(name: str, coding: "IndexCoding") -> None:
    """Add a coding of indices, for this process's writers and readers.

    Args:
        name: What recipes and ``Settings.coding`` call it.
        coding: The coding; docs/adding/coding.md has its contract.

    Raises:
        ValueError: The name is taken, or another coding has the same features.
    """
    if name in CODINGS:
        raise ValueError(f"coding {name!r} is registered already")
    for other in CODINGS:
        if set(get_coding(other).features) == set(coding.features):
            raise ValueError(f"coding {name!r} has the features of {other!r}: a reader could not tell them apart")
    CODINGS[name] = coding


def get_coding(name: str) -> "IndexCoding":
    """The coding of this name.

    Raises:
        MomosError: There is none.
    """
    entry = CODINGS.get(name)
    if entry is None:
        raise MomosError(f"unknown coding {name!r}; choose from {', '.join(CODINGS)}")
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = CODINGS[name] = getattr(import_module(module), attribute)
    return entry


def coding_with(features: "Iterable[str]") -> str | None:
    """Name of the coding whose features, of all that codings have, are exactly these; None where there is none."""
    wanted = set(features) & set(coding_features())
    return next((name for name in CODINGS if set(get_coding(name).features) == wanted), None)


def coding_features() -> tuple[str, ...]:
    """The features of all codings, each once."""
    return tuple(dict.fromkeys(feature for name in CODINGS for feature in get_coding(name).features))
