"""Settings whose file meets a budget, in few tries: bisection along a path of ever smaller files."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from momos_compress.search.budget import Budget
from momos_compress.search.file_sizes import FileSizes
from momos_compress.search.settings_path import SettingsPath
from momos_compress.search.trial import Attempt, Trial, preference

MOST_TRIES = 8
"""Fits of a whole search."""
TRIES_ALONE = 6
"""Fits for a block size that is the only one."""
TRIES_FIRST = 4
"""Fits for the first of several block sizes."""
TRIES_NEXT = 2
"""Fits for each of the others."""
NEAR = 0.95
"""Share of the bytes allowed from which a file is near enough."""
AIM = 0.98
"""Share of the bytes allowed that a try aims at."""
ALIKE = 0.99
"""Share of a file's bytes from which another one counts as of the same size."""
SMALLER = 0.9
"""Share of the best file's bytes at which another block size is tried."""
FARTHEST = 6
"""A try's aim is at most this power of SMALLER away from the best file."""
LEAST_SLOPE = 0.02
"""Slope between two tries below which they say nothing of where the aim is."""
LOSS_SLOPE = 0.5
"""Slope of the log of the loss along a path that is supposed until two tries show another."""
LEAST_STEP = 0.2
"""Least step along a path."""
STRIDE = 2.0
"""Greatest step along a path."""
EDGE = 0.2
"""Least share of a bracket that a try leaves on either side."""
LEAST_DROP = 0.1
"""Points that losses are told apart from none by."""


@dataclass(frozen=True)
class SearchSpace:
    """What a search may try.

    Attributes:
        sizes: Block size -> what is known of its files; the first is searched first.
        most_bytes: Bytes that the file may have; None where the budget is a loss.
        first_k: Block size -> motifs to begin with, where the budget is a loss.
        rate_weights: Least and greatest rate weight.
    """

    sizes: Mapping[int, FileSizes]
    most_bytes: int | None
    first_k: Callable[[int], int]
    rate_weights: tuple[float, float]


def search(attempt: Attempt, budget: Budget, space: SearchSpace) -> list[Trial]:
    """Try settings, at most ``MOST_TRIES``, in search of those that serve the budget best.

    Args:
        attempt: Tries settings.
        budget: What is asked for.
        space: What may be tried.

    Returns:
        All that were tried, in order.
    """
    trials: list[Trial] = []
    share = 1.0
    for s, sizes in space.sizes.items():
        first = not trials
        alone = len(space.sizes) == 1
        tries = min(MOST_TRIES - len(trials), TRIES_ALONE if alone else TRIES_FIRST if first else TRIES_NEXT)
        if space.most_bytes is None and not first:
            trials += _undercut(attempt, s, sizes, tries, trials, budget, share, space.rate_weights)
            continue
        k = space.first_k(s) if space.most_bytes is None else sizes.motifs(AIM * space.most_bytes, share)
        if not first and not 2 <= k < sizes.most_motifs:
            continue  # blocks of this size make no file near that large
        path = SettingsPath(max(2, k), sizes.most_motifs, space.rate_weights)
        found = _bisect(attempt, s, path, tries, space.most_bytes, budget.max_drop or 0.0)
        trials += found
        share = sizes.share(found[-1].k, found[-1].file_bytes)
    return trials


def _undercut(
    attempt: Attempt,
    s: int,
    sizes: FileSizes,
    tries: int,
    before: Sequence[Trial],
    budget: Budget,
    share: float,
    rate_weights: tuple[float, float],
) -> list[Trial]:
    """With blocks of another size, a smaller file than the best so far that is within budget, or a better one."""
    found: list[Trial] = []
    for _ in range(tries):
        best = min([*before, *found], key=preference(budget))
        if best.met and found and not found[-1].met:
            aim = math.sqrt(best.file_bytes * found[-1].file_bytes)
            if found[-1].file_bytes > NEAR * best.file_bytes:
                break
        else:
            aim = _aim(best, sizes.blocks * s, budget)
        k = sizes.motifs(aim, share)
        if not 2 <= k < sizes.most_motifs:
            break
        found.append(attempt(s, *SettingsPath(k, sizes.most_motifs, rate_weights).at(0.0)))
        share = sizes.share(k, found[-1].file_bytes)
    return found


def _aim(best: Trial, values: int, budget: Budget) -> float:
    """Bytes to aim at: what the best file would take if its loss were just the one allowed."""
    # At high rates a bit less for each value lets the squared error grow to four times what it was.
    spare = math.log2(((budget.max_drop or 0.0) + LEAST_DROP) / ((best.drop or 0.0) + LEAST_DROP)) / 2
    aim = best.file_bytes - spare * values / 8
    aim = min(aim, best.file_bytes * SMALLER) if best.met else max(aim, best.file_bytes / SMALLER)
    return min(best.file_bytes / SMALLER**FARTHEST, max(best.file_bytes * SMALLER**FARTHEST, aim))


def _bisect(
    attempt: Attempt, s: int, path: SettingsPath, tries: int, most_bytes: int | None, allowed: float
) -> list[Trial]:
    """Along one path: towards the largest file within ``most_bytes``; without, the smallest within budget."""
    trials: list[Trial] = []
    positions: list[float] = []
    t = 0.0
    while len(trials) < tries:
        k, weight = path.at(t)
        if any((trial.k, trial.rate_weight) == (k, weight) for trial in trials):
            break
        trials.append(attempt(s, k, weight))
        positions.append(t)
        low, high = _bracket(positions, trials, most_bytes)
        if most_bytes is not None and NEAR * most_bytes <= trials[-1].file_bytes <= most_bytes:
            break
        if most_bytes is None and low is not None and high is not None and _alike(positions, trials, low, high):
            break
        if most_bytes is not None:
            seen = [math.log(trial.file_bytes) for trial in trials]
            t = _secant(positions, seen, math.log(AIM * most_bytes), -1 / max(1.0, math.log(trials[-1].k)))
        elif len(trials) == 1:
            t = _first_stop(path, t, onwards=high is None)
        else:
            seen = [math.log((trial.drop or 0.0) + LEAST_DROP) for trial in trials]
            t = _secant(positions, seen, math.log(allowed + LEAST_DROP), LOSS_SLOPE)
        t = _between(t, low, high)
    return trials


def _between(t: float, low: float | None, high: float | None) -> float:
    """Keep a position inside a bracket, and off its ends."""
    if low is not None and high is not None:
        return min(high - EDGE * (high - low), max(low + EDGE * (high - low), t))
    if high is not None:
        return min(t, high - LEAST_STEP)
    return t if low is None else max(t, low + LEAST_STEP)


def _alike(positions: Sequence[float], trials: Sequence[Trial], low: float, high: float) -> bool:
    """Whether the files at both ends of a bracket are of one size, so that nothing is to be had between."""
    ends = [trial.file_bytes for t, trial in zip(positions, trials, strict=True) if t in (low, high)]
    return min(ends) > ALIKE * max(ends)


def _bracket(
    positions: Sequence[float], trials: Sequence[Trial], most_bytes: int | None
) -> tuple[float | None, float | None]:
    """The position before which the answer cannot lie, and the one after which it cannot."""

    def before(trial: Trial) -> bool:
        return trial.met if most_bytes is None else trial.file_bytes > most_bytes

    lows = [t for t, trial in zip(positions, trials, strict=True) if before(trial)]
    highs = [t for t, trial in zip(positions, trials, strict=True) if not before(trial)]
    low, high = max(lows, default=None), min(highs, default=None)
    # A file may get larger, or a loss less, by chance: then what was seen last counts.
    if low is not None and high is not None and low >= high:
        return (low, None) if before(trials[-1]) else (None, high)
    return low, high


def _secant(positions: Sequence[float], seen: Sequence[float], aim: float, slope: float) -> float:
    """Where ``aim`` would be seen, by the two tries nearest to it; ``slope`` where they say nothing of it."""
    pairs = sorted(zip(positions, seen, strict=True), key=lambda pair: abs(pair[1] - aim))
    t, value = pairs[0]
    if len(pairs) > 1:
        found = (pairs[1][1] - value) / (pairs[1][0] - t)
        slope = found if found * slope > 0 and abs(found) > LEAST_SLOPE else slope
    return t + min(STRIDE, max(-STRIDE, (aim - value) / slope))


def _first_stop(path: SettingsPath, t: float, *, onwards: bool) -> float:
    """The end of the rate weights; where there is none, a step of k."""
    low, high = path.rate_weights
    end = t if low == high else math.log(high if onwards else low)
    return end if abs(end - t) > LEAST_STEP else t + (STRIDE if onwards else -STRIDE)
