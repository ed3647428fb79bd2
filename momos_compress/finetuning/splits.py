"""Samples to train on, to choose by, and to report on: three sets that never meet."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from momos_compress.data.registry import same_data
from momos_compress.errors import MomosError
from momos_compress.finetuning.samples import SampleKind, Samples


@dataclass(frozen=True)
class Splits:
    """Three sets that have no sample in common.

    Attributes:
        train: Samples to train on.
        validation: Samples to choose the best epoch by.
        test: Samples to report on, if any are named.
    """

    train: Samples
    validation: Samples
    test: Samples | None


def open_splits(
    kind: SampleKind, train: str, validation: str | float, test: str | None, *, seed: int, labels: bool
) -> Splits:
    """Open the three sets.

    Args:
        kind: How the network takes its samples.
        train: Data to train on.
        validation: Data to choose the best epoch by, or the share of ``train`` to hold out for it.
        test: Data to report on.
        seed: Seed of the draw that is held out.
        labels: Whether classes are learnt, which the samples must then have.

    Raises:
        MomosError: if sets meet, are empty, or do not fit the network.
    """
    _check_apart({"data": train, "validation": validation, "test": test})
    every = kind.open(train)
    if isinstance(validation, str):
        held_out = kind.open(validation)
    else:
        every, held_out = _hold_out(every, validation, seed)
    report = None if test is None else kind.open(test)
    for samples in filter(None, (every, held_out, report)):
        _check_classes(samples, kind, needed=labels or samples is report)
    return Splits(every, held_out, report)


def _check_apart(named: Mapping[str, str | float | None]) -> None:
    """MomosError where two of these, setting -> data, are the same data."""
    given = [(setting, name) for setting, name in named.items() if isinstance(name, str)]
    for i, (setting, name) in enumerate(given):
        for other, second in given[i + 1 :]:
            if same_data(name, second):
                raise MomosError(
                    f"`{setting}` {name} and `{other}` {second} are the same data; what is reported on, chosen by and "
                    "trained on must not meet"
                )


def _hold_out(samples: Samples, share: float, seed: int) -> tuple[Samples, Samples]:
    """Split a set at random into what is trained on and a share that is not."""
    total, name, noun = len(samples.order), samples.name, samples.noun
    count = max(1, round(total * share))
    if total - count < 1:
        raise MomosError(f"{name} has {total} {noun}, too few to hold out {share:.0%} of them")
    mixed = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    order = tuple(samples.order[position] for position in mixed)
    return replace(samples, order=order[count:]), replace(
        samples, name=f"{count:,} {noun} of {name}", order=order[:count]
    )


def _check_classes(samples: Samples, kind: SampleKind, *, needed: bool) -> None:
    if not samples.labelled:
        if needed:
            raise MomosError(
                f"{samples.name}: its {samples.noun} have {'one class' if samples.classes else 'no classes'}, and "
                "labels are needed here; name data with classes, or use `loss='distil'`"
            )
    elif samples.classes != kind.classes:
        raise MomosError(
            f"{samples.name} has {samples.classes} classes and {kind.network} {kind.classes} outputs; train on the "
            "classes that it was made for"
        )
