"""Inputs without labels that a network is calibrated on: images for timm's networks, texts for language models."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.data.batches import Inputs
from momos_compress.data.images import open_image_pool
from momos_compress.data.pools import Pool, counted, draw
from momos_compress.data.registry import DATASETS
from momos_compress.data.texts import open_corpus_pool, open_text_pool
from momos_compress.errors import MomosError, one_line

DEFAULT_SAMPLES = 1024
"""Samples where no number is asked for and the data have as many."""

CORPUS_SAMPLES = 512
"""Texts of those that ship with the package where no number is asked for and there are as many."""
CORPUS_NAME = "the corpus that ships with the package"
"""What these texts are called in reports and messages."""


@dataclass(frozen=True)
class CalibrationData:
    """Samples drawn from a data set, in the order of the draw, so that the first of them are a draw themselves.

    Attributes:
        description: How many of what, for reports: "512 images of train".
        samples: How many there are.
        warnings: What was skipped or missing, a line each.
        read: From positions of samples, their batch on the CPU.
        held_out: Samples of the same data that are not among these; None where none were asked for.
        left_out_seconds: Time that making them would have taken further, where they are made up for a trial.
        lengths: Tokens of each sample, where a batch fills its samples up to the longest; none where all are alike.
    """

    description: str
    samples: int
    warnings: tuple[str, ...]
    read: Callable[[Sequence[int]], Inputs] = field(repr=False)
    held_out: "CalibrationData | None" = None
    left_out_seconds: float = 0.0
    lengths: tuple[int, ...] = field(default=(), repr=False)

    def batches(self, size: int, limit: int | None = None, *, start: int = 0) -> Iterator[Inputs]:
        """Go through the samples, the same on every pass: in order, or from the shortest where lengths differ.

        Args:
            size: Samples of a batch, at least 1; the last may be smaller. Where lengths differ, as many as hold the
                tokens of so many of the longest.
            limit: Stop before this position; None goes through all.
            start: The first position.
        """
        if size < 1:
            raise ValueError(f"batches of {size}")
        end = self.samples if limit is None else min(limit, self.samples)
        yield from map(self.read, self._parts(size, range(start, end)))

    def longest(self, count: int) -> Inputs:
        """The batch of the longest samples, or of the first ones where all are alike."""
        places = sorted(range(self.samples), key=self._length, reverse=True)
        return self.read(places[:count])

    def mean_length(self, count: int | None = None) -> float:
        """Mean number of tokens of the first ``count`` samples, or of all; 1 where all samples are alike."""
        lengths = self.lengths[:count]
        return sum(lengths) / len(lengths) if lengths else 1.0

    def _length(self, position: int) -> int:
        return self.lengths[position] if self.lengths else 1

    def _parts(self, size: int, positions: range) -> Iterator[Sequence[int]]:
        most = size * max(self.lengths, default=1)
        part: list[int] = []
        for position in sorted(positions, key=self._length):
            if part and (len(part) + 1) * self._length(position) > most:
                yield part
                part = []
            part.append(position)
        if part:
            yield part


def open_calibration(
    data: str,
    model: nn.Module,
    *,
    samples: int | None = None,
    seed: int,
    source: str | None = None,
    held_out: int = 0,
) -> CalibrationData:
    """Draw calibration inputs for a network, uniformly without replacement.

    Args:
        data: For an image network of timm a name of ``DATASETS``, an image folder with or without class folders, or a
            tar of one; for a language model of transformers a text file with one sample a line; for both a data set
            directory of the ``datasets`` library.
        model: The network.
        samples: How many to draw; None takes 1,024, or all where there are fewer.
        seed: Decides the draw.
        source: What the network was opened from, for its tokenizer.
        held_out: How many further samples to keep apart; which ones does not depend on ``samples``.

    Returns:
        The samples, in the order of the draw.

    Raises:
        MomosError: The data cannot be read, do not fit the network, or are too few.
    """
    check_numbers(samples, held_out)
    wanted = DEFAULT_SAMPLES if samples is None else samples
    pool = _open_pool(data, model, source, wanted + held_out)
    name = pool.part + (data if data in DATASETS else Path(data).expanduser().resolve().name)
    drawn = draw_samples(pool, pool.part + data, name, samples=samples, wanted=wanted, seed=seed, held_out=held_out)
    if drawn.samples == wanted:
        return drawn
    beside = f" beside {held_out:,} held out" if held_out else ""
    few = f"{name} has only {counted(drawn.samples, pool)}{beside}, fewer than the usual {wanted:,}"
    return replace(drawn, warnings=(*drawn.warnings, few))


def open_corpus(
    model: nn.Module, *, samples: int | None = None, seed: int, source: str | None = None, held_out: int = 0
) -> CalibrationData:
    """Draw from the texts that ship with the package, for a language model that no texts were given for.

    Args:
        model: The language model.
        samples: How many to draw; None takes 512, or all where there are fewer, as for a decoder. Where there are
            fewer than asked for, all are taken, and a warning says so.
        seed: Decides the draw.
        source: What the network was opened from, for its tokenizer.
        held_out: How many further texts to keep apart, at most a third of what there is.

    Raises:
        MomosError: There is no tokenizer, or the texts are missing.
    """
    check_numbers(samples, held_out)
    pool = open_corpus_pool(model, source)
    apart = min(held_out, len(pool) // 3)
    asked = CORPUS_SAMPLES if samples is None else samples
    drawn = draw_samples(pool, CORPUS_NAME, CORPUS_NAME, samples=None, wanted=asked, seed=seed, held_out=apart)
    if drawn.samples == asked or samples is None:
        return drawn
    few = f"{CORPUS_NAME} has only {counted(drawn.samples, pool)} to draw, fewer than the {asked:,} asked for"
    return replace(drawn, warnings=(*drawn.warnings, few))


def check_numbers(samples: int | None, held_out: int) -> None:
    """Refuse numbers of samples that cannot be; MomosError says which."""
    if samples is not None and samples < 1:
        raise MomosError(f"calibration needs at least 1 sample, not {samples:,}")
    if held_out < 0:
        raise MomosError(f"the samples held out cannot be {held_out:,}; 0 holds none out")


def draw_samples(
    pool: Pool, where: str, name: str, *, samples: int | None, wanted: int, seed: int, held_out: int
) -> CalibrationData:
    """Draw from a pool, uniformly without replacement.

    Args:
        pool: What to draw from.
        where: What the data are called in messages.
        name: What they are called in reports.
        samples: How many are asked for; None takes ``wanted``, or all where there are fewer.
        wanted: How many to draw.
        seed: Decides the draw.
        held_out: How many further samples to keep apart; which ones does not depend on the other numbers.

    Raises:
        MomosError: There are too few, or most cannot be read.
    """
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()
    _check_enough(where, counted(len(order), pool), len(order), samples, held_out)
    # From the two ends of one order: neither part changes with the size of the other.
    kept_back = draw(pool, where, order[::-1], held_out)
    drawn = draw(pool, where, order[: len(order) - kept_back.tried], wanted)
    readable = len(kept_back.items) + len(drawn.items)
    _check_enough(where, f"{counted(readable, pool)} that can be read", readable, samples, held_out)
    pool.settle([*kept_back.items, *drawn.items])
    warnings = []
    unreadable = kept_back.unreadable + drawn.unreadable
    if unreadable:
        were = "was" if unreadable == 1 else "were"
        warnings.append(f"{counted(unreadable, pool)} of {name} could not be read and {were} skipped")
    apart = None
    if held_out:
        held = f"{held_out:,} held-out {pool.noun}{'' if held_out == 1 else 's'} of {name}"
        apart = _data(pool, kept_back.items, held, ())
    description = f"{counted(len(drawn.items), pool)} of {name}"
    return _data(pool, drawn.items, description, tuple(warnings), apart)


def count_samples(data: str, model: nn.Module, *, source: str | None = None) -> int:
    """How many samples there are to draw from, readable or not.

    Args:
        data: Images or texts, by name or path.
        model: The network that takes them.
        source: What the network was opened from, for its tokenizer.

    Raises:
        MomosError: The data cannot be read or do not fit the network.
    """
    return len(_open_pool(data, model, source, 0))


def _open_pool(data: str, model: nn.Module, source: str | None, wanted: int) -> Pool:
    if hasattr(model, "pretrained_cfg"):
        return open_image_pool(data, model, wanted)
    name = getattr(model, "main_input_name", None)
    if name == "input_ids":
        return open_text_pool(data, model, source)
    what = f"{type(model).__name__} takes {one_line(name, 40)}" if name else f"this is {type(model).__name__}"
    raise MomosError(f"calibration needs an image network of timm or a language model of transformers; {what}")


def _check_enough(where: str, what: str, there: int, samples: int | None, held_out: int) -> None:
    if samples is None and there <= held_out:
        raise MomosError(f"{where} has {what} and {held_out:,} are to be held out, which leaves none; hold out fewer")
    if samples is not None and there < samples + held_out:
        beside = f" and {held_out:,} to hold out" if held_out else ""
        raise MomosError(f"{where} has {what}, too few for {samples:,} to calibrate on{beside}; ask for fewer")


def _data(
    pool: Pool,
    items: list[Any],
    description: str,
    warnings: tuple[str, ...],
    held_out: CalibrationData | None = None,
) -> CalibrationData:
    return CalibrationData(
        description,
        len(items),
        warnings,
        lambda positions: pool.batch([items[position] for position in positions]),
        held_out,
        lengths=pool.lengths(items),
    )
