"""Samples of images or of texts, and how a network takes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from momos_compress.data.batches import Inputs
from momos_compress.finetuning.settings import Augment

Place = tuple[int, int]
"""(epoch, position) of a sample in its set."""


@dataclass(frozen=True)
class Samples:
    """A set of samples.

    Attributes:
        name: What the set is called in messages.
        noun: What samples are, such as "images".
        data: Where they are read from, by index.
        order: Their indices, in an order that depends on their names alone.
        classes: How many classes there are; None or one: they count as not labelled.
    """

    name: str
    noun: str
    data: Any
    order: tuple[int, ...]
    classes: int | None

    @property
    def labelled(self) -> bool:
        """Tell whether there are classes that can be learnt."""
        return (self.classes or 0) > 1


def described(samples: Samples) -> dict[str, Any]:
    """Describe a set for a run's record."""
    return {
        "data": Path(samples.name).name,
        "samples": len(samples.order),
        "noun": samples.noun,
        "classes": samples.classes,
    }


class Views(Protocol):
    """A set as the network sees it: (item, class) by place."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: Place) -> tuple[Any, int]: ...

    def collate(self, items: list[tuple[Any, int]]) -> tuple[Any, torch.Tensor]:
        """Make a batch that ``SampleKind.prepare`` takes, and classes (n,)."""
        ...


class SampleKind(Protocol):
    """What a network takes: how its samples are opened, seen, and given to it.

    Attributes:
        network: What the network is called in messages.
        classes: Classes that it tells apart.
    """

    network: str
    classes: int

    def open(self, data: str) -> Samples:
        """Open all samples of a data set; MomosError where there are none, or they are of another kind."""
        ...

    def views(self, samples: Samples, *, augment: Augment = "none", seed: int = 0) -> Views:
        """Show samples as the network sees them; varied at random unless ``augment`` is "none"."""
        ...

    def prepare(self, batch: Any) -> Inputs:
        """Put a batch on the network's device, ready to be its input."""
        ...
