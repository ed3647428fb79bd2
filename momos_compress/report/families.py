"""The families of models, and which of them have a colour of their own."""

from collections import Counter
from collections.abc import Iterable, Sequence

from momos_compress.errors import one_line
from momos_compress.study.rows import Row

OTHER = "other"
"""What the families without a colour of their own are called."""
NAMED_FAMILIES = 8
"""Families with a colour of their own; with the one that the rest share, as many as can be told apart."""


def families(rows: Iterable[Row]) -> list[str]:
    """The families that get a colour, most frequent first, and "other" last where there are more."""
    counts = Counter(family_of(row) for row in rows if row.status == "ok")
    ordered = sorted(counts, key=lambda family: (-counts[family], family))
    if len(ordered) <= NAMED_FAMILIES:
        return ordered
    named = [family for family in ordered if family != OTHER]
    return [*named[:NAMED_FAMILIES], OTHER]


def family_of(row: Row) -> str:
    """A row's family as one line."""
    return one_line(row.family or "unknown", 40)


def coloured_family(row: Row, shown: Sequence[str]) -> str:
    """A row's family where it has a colour, else "other"."""
    return family_of(row) if family_of(row) in shown else OTHER
