"""The table of index codings, which the writer, the reader and the command line share."""

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
    "spread": "momos_compress.coding.spread:BY_SPREAD",
}
"""Name in recipes and settings -> the coding, or its "module:object"; the names can be listed without torch."""


def register_coding(name: str, coding: "IndexCoding") -> None:
    """Add a coding of indices, for this process's writers and readers.

    Args:
        name: What recipes and ``Settings.coding`` call it.
        coding: The coding; docs/add/coding.md has its contract, and a whole coding as an example.

    Raises:
        ValueError: The name is taken, or another coding has the same features.

    Examples:
        >>> from dataclasses import replace
        >>> from momos_compress.coding.radix import RADIX
        >>> register_coding("digits", replace(RADIX, features=("digits",)))
        >>> get_coding("digits").motifs
        (2, 16)
        >>> del CODINGS["digits"]
    """
    if name in CODINGS:
        raise ValueError(f"coding {name!r} is registered already")
    for other in CODINGS:
        if set(get_coding(other).features) == set(coding.features):
            raise ValueError(f"coding {name!r} has the features of {other!r}: a reader could not tell them apart")
    CODINGS[name] = coding


def get_coding(name: str) -> "IndexCoding":
    """Look up a coding by its name, and import it where it lies in a module that has not been imported yet.

    Raises:
        MomosError: No coding has this name; the message lists those there are.
    """
    entry = CODINGS.get(name)
    if entry is None:
        raise MomosError(f"unknown coding {name!r}; choose from {', '.join(CODINGS)}")
    if isinstance(entry, str):
        module, _, attribute = entry.partition(":")
        entry = CODINGS[name] = getattr(import_module(module), attribute)
    return entry


def coding_with(features: "Iterable[str]") -> str | None:
    """Find the coding of a file.

    Args:
        features: All features that the file names; those that belong to no coding are ignored.

    Returns:
        Name of the coding that has exactly the others; None where no coding has.
    """
    wanted = set(features) & set(coding_features())
    return next((name for name in CODINGS if set(get_coding(name).features) == wanted), None)


def coding_features() -> tuple[str, ...]:
    """Every feature that some coding has, each once."""
    return tuple(dict.fromkeys(feature for name in CODINGS for feature in get_coding(name).features))
