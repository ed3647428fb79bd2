"""Settings whose file meets a budget, in few tries: bisection along a path of ever smaller files."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from momos_compress.errors import MomosError

RATE_WEIGHTS = (1.5, 9.0)
"""Between these, motifs by the number of blocks and the price of a bit go well together."""
MOST_TRIES = 8
TRIES_ALONE = 6
TRIES_FIRST, TRIES_NEXT = 4, 2
"""Fits for one block size that was asked for, for the first of several and for each of the others."""
NEAR = 0.95
"""A file of this share of the bytes allowed is near enough."""
AIM = 0.98
ALIKE = 0.99
SMALLER = 0.9
"""Another block size is tried at this share of the best file so far."""
LEAST_SLOPE = 0.02
LEAST_STEP, STRIDE = 0.2, 2.0
"""Steps along a path: k changes by e for each 1."""
EDGE = 0.2
"""Of what is left of a bracket, neither side is taken by less than this share."""
LEAST_DROP = 0.1
"""Points that losses are told apart from none by."""


@dataclass(frozen=True)
class Budget:
    """What is asked for, one of: source over file, bytes of the file, points that may be lost (see ``Degradation``)."""

    ratio: float | None = None
    file_bytes: int | None = None
    drop: float | None = None

    def check(self) -> None:
        """MomosError unless exactly one is given, and can be."""
        options = {"--target-ratio": self.ratio, "--target-size": self.file_bytes, "--max-drop": self.drop}
        given = [name for name, value in options.items() if value is not None]
        if len(given) != 1:
            raise MomosError(f"give one of {', '.join(options)}, not {' and '.join(given) or 'none'}")
        if self.ratio is not None and not 1 < self.ratio < 10**9:
            raise MomosError(f"--target-ratio must be above 1, source over file, not {self.ratio:g}")
        if self.file_bytes is not None and self.file_bytes < 1:
            raise MomosError(f"--target-size must be at least 1 byte, not {self.file_bytes}")
        if self.drop is not None and not 0 <= self.drop < 100:
            raise MomosError(f"--max-drop must lie in 0..100 points, not {self.drop:g}")

    def most_bytes(self, source_bytes: int) -> int | None:
        """Bytes that the file may have; None where its size is free."""
        return self.file_bytes if self.ratio is None else int(source_bytes / self.ratio)


@dataclass(frozen=True)
class Point:
    """One try. k: motifs asked for. met: whether it is within the budget. drop, error: see ``Degradation``."""

    s: int
    k: int
    rate_weight: float
    file_bytes: int
    ratio: float
    drop: float | None
    error: float | None
    met: bool
    seconds: float


@dataclass(frozen=True)
class Sizes:
    """What is known of files of one block size before any is fitted.

    blocks: their number. motif_bytes: of one in the codebook. rest: bytes beside motifs and mosaic.
    """

    blocks: int
    motif_bytes: float
    rest: int

    def file_bytes(self, k: int, share: float) -> float:
        """share: bits that an index takes, over log2 k."""
        return self.rest + k * self.motif_bytes + share * self.blocks * math.log2(max(k, 2)) / 8

    def share(self, k: int, file_bytes: int) -> float:
        """The share that a file of this size shows."""
        bits = 8 * (file_bytes - self.rest - k * self.motif_bytes) / (self.blocks * math.log2(max(k, 2)))
        return min(2.0, max(0.2, bits))

    @property
    def most_motifs(self) -> int:
        """More than half as many motifs as blocks are no codebook."""
        return max(1, min(2**24, self.blocks // 2))

    def motifs(self, file_bytes: float, share: float) -> int:
        """The k whose file is no larger, 1 at least."""
        low, high = 1, self.most_motifs
        while low < high:
            middle = (low + high + 1) // 2
            if self.file_bytes(middle, share) <= file_bytes:
                low = middle
            else:
                high = middle - 1
        return low


@dataclass(frozen=True)
class Path:
    """Settings in an order of ever smaller files: position t gives (k, rate_weight).

    The rate weight goes from its least to its greatest value at ``k`` motifs; only outside of that k changes, by e for
    each step of t. Where both bounds are one, k alone does.
    """

    k: int
    most_motifs: int
    rate_weights: tuple[float, float]

    def at(self, t: float) -> tuple[int, float]:
        """t = 0: ``k`` motifs, at a rate weight of 1 where that is allowed."""
        low, high = self.rate_weights
        inside = 0.0 if low == high else min(math.log(high), max(math.log(low), t))
        k = round(self.k * math.exp(min(50.0, max(-50.0, inside - t))))
        weight = high if low == high else math.exp(inside)
        return min(self.most_motifs, max(2, k)), round(min(high, max(low, weight)), 4)


Attempt = Callable[[int, int, float], Point]
"""Fits s, k and rate weight, and measures."""


def order(budget: Budget) -> Callable[[Point], tuple[float, ...]]:
    """A key by which the point that serves the budget best is the least."""

    def loss(point: Point) -> tuple[float, ...]:
        return tuple(math.inf if value is None else value for value in (point.drop, point.error))

    def key(point: Point) -> tuple[float, ...]:
        if budget.drop is not None:
            return (0.0, point.file_bytes, *loss(point)) if point.met else (1.0, *loss(point), point.file_bytes)
        return (0.0, *loss(point), point.file_bytes) if point.met else (1.0, point.file_bytes)

    return key


def search(
    attempt: Attempt,
    budget: Budget,
    sizes: dict[int, Sizes],
    *,
    most_bytes: int | None,
    first_k: Callable[[int], int],
    rate_weights: tuple[float, float],
) -> list[Point]:
    """Try settings, at most ``MOST_TRIES``, in search of those that serve the budget best; all that were tried.

    sizes: by block size, the first of them searched first. most_bytes: what the file may have, where the budget says.
    first_k: motifs to begin with for a block size where it does not. rate_weights: least and greatest.
    """
    points: list[Point] = []
    share = 1.0
    for s, known in sizes.items():
        first = not points
        tries = min(MOST_TRIES - len(points), TRIES_ALONE if len(sizes) == 1 else TRIES_FIRST if first else TRIES_NEXT)
        if most_bytes is None and not first:
            points += _undercut(attempt, s, known, tries, points, budget, share, rate_weights)
            continue
        k = first_k(s) if most_bytes is None else known.motifs(AIM * most_bytes, share)
        if not first and not 2 <= k < known.most_motifs:
            continue  # blocks of this size make no file near that large
        path = Path(max(2, k), known.most_motifs, rate_weights)
        found = _bisect(attempt, s, path, tries, most_bytes, budget.drop or 0.0)
        points += found
        share = known.share(found[-1].k, found[-1].file_bytes)
    return points


def _undercut(
    attempt: Attempt,
    s: int,
    known: Sizes,
    tries: int,
    points: Sequence[Point],
    budget: Budget,
    share: float,
    rate_weights: tuple[float, float],
) -> list[Point]:
    """With blocks of another size, a smaller file than the best so far that is within budget, or a better one."""
    found: list[Point] = []
    for _ in range(tries):
        best = min([*points, *found], key=order(budget))
        if best.met and found and not found[-1].met:
            aim = math.sqrt(best.file_bytes * found[-1].file_bytes)
            if found[-1].file_bytes > NEAR * best.file_bytes:
                break
        else:
            # At high rates a bit less for each value lets the squared error grow to four times what it was.
            spare = math.log2(((budget.drop or 0.0) + LEAST_DROP) / ((best.drop or 0.0) + LEAST_DROP)) / 2
            aim = best.file_bytes - spare * known.blocks * s / 8
            aim = min(aim, best.file_bytes * SMALLER) if best.met else max(aim, best.file_bytes / SMALLER)
            aim = min(best.file_bytes / SMALLER**6, max(best.file_bytes * SMALLER**6, aim))
        k = known.motifs(aim, share)
        if not 2 <= k < known.most_motifs:
            break
        found.append(attempt(s, *Path(k, known.most_motifs, rate_weights).at(0.0)))
        share = known.share(k, found[-1].file_bytes)
    return found


def _bisect(attempt: Attempt, s: int, path: Path, tries: int, most_bytes: int | None, allowed: float) -> list[Point]:
    """Along one path: towards the largest file within ``most_bytes``; without, the smallest within budget."""
    points: list[Point] = []
    positions: list[float] = []
    t = 0.0
    while len(points) < tries:
        k, weight = path.at(t)
        if any((point.k, point.rate_weight) == (k, weight) for point in points):
            break
        points.append(attempt(s, k, weight))
        positions.append(t)
        low, high = _bracket(positions, points, most_bytes)
        if most_bytes is not None and NEAR * most_bytes <= points[-1].file_bytes <= most_bytes:
            break
        if most_bytes is None and low is not None and high is not None and _alike(positions, points, low, high):
            break
        if most_bytes is not None:
            seen = [math.log(point.file_bytes) for point in points]
            t = _secant(positions, seen, math.log(AIM * most_bytes), -1 / max(1.0, math.log(points[-1].k)))
        elif len(points) == 1:
            t = _first_stop(path, t, onwards=high is None)
        else:
            seen = [math.log((point.drop or 0.0) + LEAST_DROP) for point in points]
            t = _secant(positions, seen, math.log(allowed + LEAST_DROP), 0.5)
        if low is not None and high is not None:
            t = min(high - EDGE * (high - low), max(low + EDGE * (high - low), t))
        elif high is not None:
            t = min(t, high - LEAST_STEP)
        elif low is not None:
            t = max(t, low + LEAST_STEP)
    return points


def _alike(positions: Sequence[float], points: Sequence[Point], low: float, high: float) -> bool:
    """Whether the files at both ends of a bracket are of one size, so that nothing is to be had between."""
    ends = [point.file_bytes for t, point in zip(positions, points, strict=True) if t in (low, high)]
    return min(ends) > ALIKE * max(ends)


def _bracket(
    positions: Sequence[float], points: Sequence[Point], most_bytes: int | None
) -> tuple[float | None, float | None]:
    """The position before which the answer cannot lie, and the one after which it cannot."""

    def before(point: Point) -> bool:
        return point.met if most_bytes is None else point.file_bytes > most_bytes

    lows = [t for t, point in zip(positions, points, strict=True) if before(point)]
    highs = [t for t, point in zip(positions, points, strict=True) if not before(point)]
    low, high = max(lows, default=None), min(highs, default=None)
    # A file may get larger, or a loss less, by chance: then what was seen last counts.
    if low is not None and high is not None and low >= high:
        return (low, None) if before(points[-1]) else (None, high)
    return low, high


def _secant(positions: Sequence[float], seen: Sequence[float], aim: float, slope: float) -> float:
    """Where ``aim`` would be seen, by the two tries nearest to it; ``slope`` where they say nothing of it."""
    pairs = sorted(zip(positions, seen, strict=True), key=lambda pair: abs(pair[1] - aim))
    t, value = pairs[0]
    if len(pairs) > 1:
        found = (pairs[1][1] - value) / (pairs[1][0] - t)
        slope = found if found * slope > 0 and abs(found) > LEAST_SLOPE else slope
    return t + min(STRIDE, max(-STRIDE, (aim - value) / slope))


def _first_stop(path: Path, t: float, *, onwards: bool) -> float:
    """The end of the rate weights; where there is none, a step of k."""
    low, high = path.rate_weights
    end = t if low == high else math.log(high if onwards else low)
    return end if abs(end - t) > LEAST_STEP else t + (STRIDE if onwards else -STRIDE)
