"""Does a measure follow a metric over training? Correlations within runs, and their spread over runs.

The interval is the expanded percentile bootstrap of the mean over runs (Hesterberg, "What Teachers Should Know About
the Bootstrap", arXiv 1411.5279): runs are resampled with replacement, and the percentiles are widened so that for
normal values the interval is as wide as Student's. In a simulation of 5 normal values the plain 95 % percentile
interval and BCa held the mean in 85 % of cases, this one in 93 %; of 5 values skewed as correlations near 1 are, in
76 %, 78 % and 86 %. It never leaves the range of the runs, and n values lie on both sides of their distribution's
median in 1 - 2 ** (1 - n) of cases: 94 % at 5 runs, 75 % at 3.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import bootstrap, norm, pearsonr, spearmanr, t

from momos_compress.trace.files import FEWEST
from momos_compress.trace.points import MEASURES, Run

CONFIDENCE = 0.95
ENOUGH_RUNS = 5
"""Runs from which an interval comes near its nominal confidence."""

PAIRS = (
    ("sign", "sign_entropy"),
    ("matrix", "matrix_entropy"),
    ("matrix", "matrix_entropy_by_tensor"),
    ("qubd_plane_1", "qubd_plane_1_entropy"),
    ("qubd_plane_1", "qubd_plane_1_entropy_by_tensor"),
)
"""A BDM measure, and the entropy of the same blocks. 4 x 4 BDM and QuBD are summed over tensors: the entropy of pooled
blocks differs from them in that, too, and only the one by tensor is like for like."""

Window = Literal["all", "from_step"]
Verdict = Literal["BDM closer", "entropy closer", "not told apart"]


@dataclass(frozen=True)
class Estimate:
    """A figure of each run, in the order of the group's runs (None where a run has none), and its mean over them.

    low, high: the confidence interval of the mean; None for a single run. note: what is to be known about it.
    """

    values: tuple[float | None, ...]
    mean: float | None
    low: float | None
    high: float | None
    note: str | None = None


@dataclass(frozen=True)
class Correlation:
    """How a measure and a metric go together over the checkpoints of each run of a group; checkpoints: their number."""

    group: str
    metric: str
    measure: str
    window: Window
    checkpoints: tuple[int, ...]
    pearson: Estimate
    spearman: Estimate


@dataclass(frozen=True)
class Difference:
    """|r(BDM, metric)| - |r(entropy of the same blocks, metric)|, run by run: above 0 where BDM is the closer one."""

    group: str
    metric: str
    bdm: str
    entropy: str
    window: Window
    pearson: Estimate
    spearman: Estimate


def verdict(estimate: Estimate) -> Verdict:
    """What a difference says: one side only where its interval leaves 0 out, and is one of at least 5 runs.

    The interval of fewer runs is no wider than they are, and leaves 0 out too easily.
    """
    enough = sum(value is not None for value in estimate.values) >= ENOUGH_RUNS
    if not enough or estimate.low is None or estimate.high is None or estimate.low <= 0 <= estimate.high:
        return "not told apart"
    return "BDM closer" if estimate.low > 0 else "entropy closer"


def correlate(
    runs: Sequence[Run], *, from_step: int | None, resamples: int, seed: int
) -> tuple[tuple[Correlation, ...], tuple[Difference, ...]]:
    """Every group, metric and measure; over all checkpoints and, where asked for, over those from ``from_step`` on."""
    windows: dict[Window, int] = {"all": 0} if from_step is None else {"all": 0, "from_step": from_step}
    correlations: list[Correlation] = []
    differences: list[Difference] = []
    for group, members in groups(runs).items():
        for metric in dict.fromkeys(name for run in members for name in run.metrics):
            for window, start in windows.items():
                found = {}
                for measure in MEASURES:
                    pairs = [_pairs(run, metric, measure, start) for run in members]
                    pearson, spearman = (
                        [_correlation(pair, statistic) for pair in pairs] for statistic in (pearsonr, spearmanr)
                    )
                    found[measure] = Correlation(
                        group, metric, measure, window, tuple(len(pair[0]) for pair in pairs),
                        estimate(pearson, resamples=resamples, seed=seed),
                        estimate(spearman, resamples=resamples, seed=seed),
                    )  # fmt: skip
                correlations += found.values()
                for bdm, entropy in PAIRS:
                    left, right = found[bdm], found[entropy]
                    differences.append(
                        Difference(
                            group, metric, bdm, entropy, window,
                            _difference(left.pearson, right.pearson, resamples=resamples, seed=seed),
                            _difference(left.spearman, right.spearman, resamples=resamples, seed=seed),
                        )
                    )  # fmt: skip
    return tuple(correlations), tuple(differences)


def groups(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs by group, both in the order given."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.group, []).append(run)
    return found


def estimate(values: Sequence[float | str], *, resamples: int, seed: int) -> Estimate:
    """The mean over runs with its interval. A str stands for a run without a value, and says why."""
    known = [value for value in values if not isinstance(value, str)]
    reasons = list(dict.fromkeys(value for value in values if isinstance(value, str)))
    notes = []
    if reasons:
        without = len(values) - len(known)
        runs = "" if len(values) == 1 else f"{without} of {len(values)} runs: " if known else "every run: "
        notes.append(runs + "; ".join(reasons))
    cells = tuple(None if isinstance(value, str) else value for value in values)
    if not known:
        return Estimate(cells, None, None, None, "; ".join(notes))
    if len(known) == 1:
        notes.append("one run: no interval")
        return Estimate(cells, known[0], None, None, "; ".join(notes))
    if len(known) < ENOUGH_RUNS:
        notes.append(f"{len(known)} runs: the interval holds at most {100 * (1 - 2.0 ** (1 - len(known))):.3g} %")
    low, high = interval(known, resamples=resamples, seed=seed)
    return Estimate(cells, statistics.fmean(known), low, high, "; ".join(notes) or None)


def interval(values: Sequence[float], *, resamples: int, seed: int) -> tuple[float, float]:
    """The expanded percentile interval of the mean of two or more values; the values' own where they are identical."""
    if len(set(values)) == 1:
        return values[0], values[0]
    n = len(values)
    tail = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf((1 + CONFIDENCE) / 2, n - 1))
    found = bootstrap(
        (np.asarray(values, dtype=np.float64),),
        np.mean,
        n_resamples=resamples,
        confidence_level=1 - 2 * tail,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _pairs(run: Run, metric: str, measure: str, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Measure and metric, each (n,), over a run's checkpoints from ``start`` on that have both."""
    both = [
        (value, point.metrics[metric])
        for point in run.points
        if point.step >= start and metric in point.metrics and (value := point.measures[measure]) is not None
    ]
    left, right = np.array(both, dtype=np.float64).reshape(-1, 2).T
    return left, right


def _correlation(pair: tuple[np.ndarray, np.ndarray], statistic: Callable[..., Any]) -> float | str:
    left, right = pair
    if len(left) < FEWEST:
        return f"{len(left)} checkpoints with both" if len(left) else "no checkpoint with both"
    for side, what in ((left, "measure"), (right, "metric")):
        if np.ptp(side) <= 1e-12 * np.abs(side).max():  # so that Pearson's does not measure rounding
            return f"the {what} is constant"
    coefficient = float(np.clip(statistic(left, right).statistic, -1, 1))
    return coefficient if math.isfinite(coefficient) else "the figures are too large"


def _difference(bdm: Estimate, entropy: Estimate, *, resamples: int, seed: int) -> Estimate:
    values: list[float | str] = []
    for left, right in zip(bdm.values, entropy.values, strict=True):
        missing = " and ".join(name for name, value in (("BDM", left), ("entropy", right)) if value is None)
        values.append(f"no correlation of {missing}" if left is None or right is None else abs(left) - abs(right))
    return estimate(values, resamples=resamples, seed=seed)
