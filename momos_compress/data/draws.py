"""Inputs without labels that a network is calibrated on: images for timm's networks, texts for language models."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from momos_compress.data.batches import Inputs
from momos_compress.data.images import ImageSource
from momos_compress.data.registry import DATASETS
from momos_compress.data.texts import TextSource
from momos_compress.errors import MomosError, one_line

DEFAULT_SAMPLES = 1024
"""Samples where no number is asked for and the data have as many."""


@dataclass(frozen=True)
class CalibrationData:
    """Samples drawn from a data set, in the order of the draw, so that the first of them are a draw themselves.

    held_out: samples of the same data that are not among these; None where none were asked for.
    """

    description: str
    samples: int
    warnings: tuple[str, ...]
    read: Callable[[int, int], Inputs] = field(repr=False)
    held_out: "CalibrationData | None" = None

    def batches(self, size: int, limit: int | None = None) -> Iterator[Inputs]:
        """The samples, or the first ``limit`` of them, ``size`` at a time and the same on every pass; on the CPU."""
        if size < 1:
            raise ValueError(f"batches of {size}")
        end = self.samples if limit is None else min(limit, self.samples)
        for start in range(0, end, size):
            yield self.read(start, min(start + size, end))


class Source(Protocol):
    """What samples are drawn from: inputs by position, in an order that stays the same."""

    noun: str
    part: str
    """What of the data they are: "" for all, or "the training split of "."""

    def __len__(self) -> int: ...

    def read(self, positions: Sequence[int]) -> Iterator[Any]:
        """For each position an item for ``batch``, or the MomosError that says why there is none."""
        ...

    def batch(self, items: Sequence[Any]) -> Inputs:
        """Items as the network takes them."""
        ...

    def settle(self, items: Sequence[Any]) -> None:
        """Only these items are needed from now on."""
        ...


@dataclass(frozen=True)
class _Draw:
    """Items read from the front of an order, and how many were unreadable before there were enough."""

    items: list[Any]
    unreadable: int

    @property
    def tried(self) -> int:
        return len(self.items) + self.unreadable


def open_calibration(
    data: str,
    model: nn.Module,
    *,
    samples: int | None = None,
    seed: int,
    source: str | None = None,
    held_out: int = 0,
) -> CalibrationData:
    """Calibration inputs for a timm network or a transformers language model, drawn uniformly without replacement.

    data: for images a registered name, an image folder with or without class folders, or a tar of one; for texts a
    file with one sample a line; for both a data set directory of the ``datasets`` library. samples: None takes 1,024,
    or all where there are fewer; a number that is not there is an error. source: what the model was opened from, for
    its tokenizer. held_out: so many further samples are kept apart; they do not depend on ``samples``.

    Raises MomosError where the data cannot be read, do not fit the network, or are too few.
    """
    if samples is not None and samples < 1:
        raise MomosError(f"calibration needs at least 1 sample, not {samples:,}")
    if held_out < 0:
        raise MomosError(f"the samples held out cannot be {held_out:,}; 0 holds none out")
    wanted = DEFAULT_SAMPLES if samples is None else samples
    inputs = _source(data, model, source, wanted + held_out)
    where = inputs.part + data
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed)).tolist()
    _check_enough(where, _count(len(order), inputs), len(order), samples, held_out)
    # From the two ends of one order: neither part changes with the size of the other.
    kept_back = _draw(inputs, where, order[::-1], held_out)
    drawn = _draw(inputs, where, order[: len(order) - kept_back.tried], wanted)
    readable = len(kept_back.items) + len(drawn.items)
    _check_enough(where, f"{_count(readable, inputs)} that can be read", readable, samples, held_out)
    inputs.settle([*kept_back.items, *drawn.items])
    name = inputs.part + (data if data in DATASETS else Path(data).expanduser().resolve().name)
    warnings = []
    unreadable = kept_back.unreadable + drawn.unreadable
    if unreadable:
        were = "was" if unreadable == 1 else "were"
        warnings.append(f"{_count(unreadable, inputs)} of {name} could not be read and {were} skipped")
    if len(drawn.items) < wanted:
        beside = f" beside {held_out:,} held out" if held_out else ""
        warnings.append(f"{name} has only {_count(len(drawn.items), inputs)}{beside}, fewer than the usual {wanted:,}")
    apart = None
    if held_out:
        apart = _data(inputs, kept_back.items, f"{held_out:,} further {inputs.noun}s of {name}", ())
    description = f"{_count(len(drawn.items), inputs)} of {name}"
    return _data(inputs, drawn.items, description, tuple(warnings), apart)


def count_samples(data: str, model: nn.Module, *, source: str | None = None) -> int:
    """How many samples there are to draw from, readable or not; MomosError as in ``open_calibration``."""
    return len(_source(data, model, source, 0))


def _source(data: str, model: nn.Module, source: str | None, wanted: int) -> Source:
    if hasattr(model, "pretrained_cfg"):
        return ImageSource(data, model, wanted)
    name = getattr(model, "main_input_name", None)
    if name == "input_ids":
        return TextSource(data, model, source)
    what = f"{type(model).__name__} takes {one_line(name, 40)}" if name else f"this is {type(model).__name__}"
    raise MomosError(f"calibration needs an image network of timm or a language model of transformers; {what}")


def _count(number: int, inputs: Source) -> str:
    return f"{number:,} {inputs.noun}{'' if number == 1 else 's'}"


def _check_enough(where: str, what: str, there: int, samples: int | None, held_out: int) -> None:
    if samples is None and there <= held_out:
        raise MomosError(f"{where} has {what} and {held_out:,} are to be held out, which leaves none; hold out fewer")
    if samples is not None and there < samples + held_out:
        beside = f" and {held_out:,} to hold out" if held_out else ""
        raise MomosError(f"{where} has {what}, too few for {samples:,} to calibrate on{beside}; ask for fewer")


def _draw(inputs: Source, where: str, order: Sequence[int], wanted: int) -> _Draw:
    """The first ``wanted`` items of an order that can be read; MomosError where most of those tried cannot."""
    items: list[Any] = []
    errors: list[MomosError] = []
    if wanted:
        # With twice as many tried and too few read, more than half have failed.
        for item in inputs.read(order[: 2 * wanted]):
            (errors if isinstance(item, MomosError) else items).append(item)
            if len(items) == wanted:
                break
    if len(errors) > len(items):
        tried = len(errors) + len(items)
        raise MomosError(
            f"{where}: {len(errors):,} of the {_count(tried, inputs)} tried cannot be read, first: "
            f"{one_line(errors[0], 160)}; replace or remove them"
        )
    return _Draw(items, len(errors))


def _data(
    inputs: Source,
    items: list[Any],
    description: str,
    warnings: tuple[str, ...],
    held_out: CalibrationData | None = None,
) -> CalibrationData:
    return CalibrationData(
        description, len(items), warnings, lambda start, stop: inputs.batch(items[start:stop]), held_out
    )
