"""Samples to train on, to choose by, and to report on: three sets that never meet, of images or of texts.

Which samples a batch holds, and how each is varied, depend on the seed, the epoch and the sample alone: not on how many
workers or processes there are, nor on whether a run was interrupted.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Sampler

from momos_compress.data.batches import Inputs
from momos_compress.data.registry import same_data
from momos_compress.errors import MomosError
from momos_compress.finetuning.settings import Augment

Place = tuple[int, int]
"""(epoch, position) of a sample in its set."""


@dataclass(frozen=True)
class Samples:
    """Samples by index in an order that depends on their names alone, and what they are called in messages.

    noun: what they are, such as "images". classes: how many there are; None or one: they count as not labelled.
    """

    name: str
    noun: str
    data: Any
    order: tuple[int, ...]
    classes: int | None

    @property
    def labelled(self) -> bool:
        """Whether their classes can be learnt."""
        return (self.classes or 0) > 1


@dataclass(frozen=True)
class Splits:
    """Samples to train on, to choose the best epoch by, and (or None) to report on."""

    train: Samples
    validation: Samples
    test: Samples | None


class Views(Protocol):
    """A set as the network sees it: (item, class) by place, and how items make a batch."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: Place) -> tuple[Any, int]: ...

    def collate(self, items: list[tuple[Any, int]]) -> tuple[Any, torch.Tensor]:
        """A batch as ``Kind.prepare`` takes it, and classes (n,)."""
        ...


class Kind(Protocol):
    """What a network takes: how its samples are opened, seen, and given to it."""

    network: str
    classes: int

    def open(self, data: str) -> Samples:
        """All samples of a data set; MomosError where there are none, or they are of another kind."""
        ...

    def views(self, samples: Samples, *, augment: Augment = "none", seed: int = 0) -> Views:
        """Samples as the network sees them; varied at random unless ``augment`` is none."""
        ...

    def prepare(self, batch: Any) -> Inputs:
        """A batch on the network's device, ready to be its input."""
        ...


def open_splits(
    kind: Kind, train: str, validation: str | float, test: str | None, *, seed: int, labels: bool
) -> Splits:
    """The three sets. validation: data, or the share of ``train`` that is held out, drawn with ``seed``.

    labels: whether classes are learnt, which they must then have. Raises MomosError where sets meet, are empty, or do
    not fit the network.
    """
    named = [("--data", train), ("--validation", validation), ("--test", test)]
    given = [(option, name) for option, name in named if isinstance(name, str)]
    for i, (option, name) in enumerate(given):
        for other, second in given[i + 1 :]:
            if same_data(name, second):
                raise MomosError(
                    f"{option} {name} and {other} {second} are the same data; what is reported on, chosen by and "
                    "trained on must not meet"
                )
    every = kind.open(train)
    if isinstance(validation, str):
        held_out = kind.open(validation)
    else:
        count = max(1, round(len(every.order) * validation))
        if len(every.order) - count < 1:
            raise MomosError(
                f"{train} has {len(every.order)} {every.noun}, too few to hold out {validation:.0%} of them"
            )
        mixed = torch.randperm(len(every.order), generator=torch.Generator().manual_seed(seed)).tolist()
        order = [every.order[position] for position in mixed]
        name = f"{count:,} {every.noun} of {train}"
        held_out = Samples(name, every.noun, every.data, tuple(order[:count]), every.classes)
        every = Samples(train, every.noun, every.data, tuple(order[count:]), every.classes)
    report = None if test is None else kind.open(test)
    for samples in filter(None, (every, held_out, report)):
        _check_classes(samples, kind, needed=labels or samples is report)
    return Splits(every, held_out, report)


def _check_classes(samples: Samples, kind: Kind, *, needed: bool) -> None:
    if not samples.labelled:
        if needed:
            raise MomosError(
                f"{samples.name}: its {samples.noun} have {'one class' if samples.classes else 'no classes'}, and "
                "labels are needed here; name data with classes, or use --loss distil"
            )
    elif samples.classes != kind.classes:
        raise MomosError(
            f"{samples.name} has {samples.classes} classes and {kind.network} {kind.classes} outputs; train on the "
            "classes that it was made for"
        )


def seeded(make: Callable[[], Any], *numbers: int) -> Any:
    """What ``make`` gives with random numbers that follow from these alone; those of the process go on as before."""
    number = random.Random("/".join(map(str, numbers))).getrandbits(63)
    state, own = torch.get_rng_state(), random.getstate()
    torch.default_generator.manual_seed(number)
    random.seed(number)  # timm's random crops draw from it
    try:
        return make()
    finally:
        torch.set_rng_state(state)
        random.setstate(own)


class EpochOrder(Sampler[list[Place]]):
    """Batches of (epoch, position): a new order every epoch, from ``start`` batches on where a run goes on.

    What is left over after whole batches is left out of the epoch; fewer samples than one batch make one.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, shuffle: bool = True) -> None:
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.epoch = self.start = 0

    def __len__(self) -> int:
        whole = self.count // self.batch_size if self.shuffle else -(-self.count // self.batch_size)
        return max(1, whole) - self.start

    def __iter__(self) -> Iterator[list[Place]]:
        order = list(range(self.count))
        if self.shuffle:
            number = random.Random(f"{self.seed}/{self.epoch}").getrandbits(63)
            order = torch.randperm(self.count, generator=torch.Generator().manual_seed(number)).tolist()
        for batch in range(self.start, self.start + len(self)):
            places = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, position) for position in places]


def loader(views: Views, order: Sampler[list[Place]], *, workers: int = 0) -> DataLoader[Any]:
    """Batches of items and classes (n,)."""
    data: Any = views
    return DataLoader(data, batch_sampler=order, num_workers=workers, collate_fn=views.collate)


def described(samples: Samples) -> dict[str, Any]:
    """What of a set goes into a run's record."""
    return {
        "data": Path(samples.name).name,
        "samples": len(samples.order),
        "noun": samples.noun,
        "classes": samples.classes,
    }
