"""Pools that samples are drawn from, and the draw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from momos_compress.data.batches import Inputs
from momos_compress.errors import MomosError, one_line


class Pool(Protocol):
    """Inputs of one network by position, in an order that stays the same.

    Attributes:
        noun: What one input is called in messages: "image", "text".
        part: What of the data they are: "" for all, or "the training split of ".
    """

    noun: str
    part: str

    def __len__(self) -> int: ...

    def read(self, positions: Sequence[int]) -> Iterator[Any]:
        """For each position an item for ``batch``, or the MomosError that says why there is none."""
        ...

    def batch(self, items: Sequence[Any]) -> Inputs:
        """Items as the network takes them."""
        ...

    def lengths(self, items: Sequence[Any]) -> tuple[int, ...]:
        """Tokens of each item, which a batch fills up to the longest; none where all items are alike."""
        ...

    def settle(self, items: Sequence[Any]) -> None:
        """Only these items are needed from now on."""
        ...


@dataclass(frozen=True)
class Draw:
    """What was read from the front of an order.

    Attributes:
        items: The items that could be read.
        unreadable: How many others were tried before there were enough.
    """

    items: list[Any]
    unreadable: int

    @property
    def tried(self) -> int:
        """Positions of the order that were tried."""
        return len(self.items) + self.unreadable


def draw(pool: Pool, where: str, order: Sequence[int], wanted: int) -> Draw:
    """Read the first ``wanted`` items of an order, skipping those that cannot be read.

    Args:
        pool: Where they lie.
        where: What the data are called in messages.
        order: Positions in the pool.
        wanted: How many items; fewer come back where the order ends before.

    Raises:
        MomosError: Most of those tried cannot be read.
    """
    items: list[Any] = []
    errors: list[MomosError] = []
    if wanted:
        # With twice as many tried and too few read, more than half have failed.
        for item in pool.read(order[: 2 * wanted]):
            (errors if isinstance(item, MomosError) else items).append(item)
            if len(items) == wanted:
                break
    if len(errors) > len(items):
        tried = len(errors) + len(items)
        raise MomosError(
            f"{where}: {len(errors):,} of the {counted(tried, pool)} tried cannot be read, first: "
            f"{one_line(errors[0], 160)}; replace or remove them"
        )
    return Draw(items, len(errors))


def counted(number: int, pool: Pool) -> str:
    """A number of inputs in words: "1 image", "2,000 texts"."""
    return f"{number:,} {pool.noun}{'' if number == 1 else 's'}"
