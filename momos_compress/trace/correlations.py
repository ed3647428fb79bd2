"""Does a figure follow a metric over training? Correlations within runs, and their means over runs."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import pearsonr, spearmanr

from momos_compress.trace.files import FEWEST
from momos_compress.trace.intervals import RunMean, mean_over_runs
from momos_compress.trace.points import Run
from momos_compress.trace.traced import entropy_pairs, traced_figures

Window = Literal["all", "from_step"]
"""All checkpoints of a run, or those from a step on."""


@dataclass(frozen=True)
class Correlation:
    """How a figure and a metric go together over the checkpoints of each run of a group.

    Attributes:
        group: The group of runs.
        metric: Name of the metric.
        measure: Name of the figure.
        window: Which checkpoints.
        checkpoints: How many of them have both, run by run.
        pearson: Pearson's coefficient.
        spearman: Spearman's coefficient.
    """

    group: str
    metric: str
    measure: str
    window: Window
    checkpoints: tuple[int, ...]
    pearson: RunMean
    spearman: RunMean


@dataclass(frozen=True)
class Difference:
    """|r(BDM, metric)| - |r(entropy of the same blocks, metric)|, run by run: above 0 where BDM is the closer one.

    Attributes:
        group: The group of runs.
        metric: Name of the metric.
        bdm: Name of the measure.
        entropy: Name of the entropy.
        window: Which checkpoints.
        pearson: Difference of Pearson's coefficients.
        spearman: Difference of Spearman's coefficients.
    """

    group: str
    metric: str
    bdm: str
    entropy: str
    window: Window
    pearson: RunMean
    spearman: RunMean


@dataclass(frozen=True)
class _Bootstrap:
    resamples: int
    seed: int

    def mean(self, values: Sequence[float | str]) -> RunMean:
        return mean_over_runs(values, resamples=self.resamples, seed=self.seed)


def correlate(
    runs: Sequence[Run], *, from_step: int | None, resamples: int, seed: int
) -> tuple[tuple[Correlation, ...], tuple[Difference, ...]]:
    """Correlate every figure with every metric, group by group, and compare each measure with its entropies.

    Args:
        runs: Measured runs.
        from_step: Where given, correlations over the checkpoints from this step on are told as well.
        resamples: Resamples of the bootstrap over runs.
        seed: Its seed.
    """
    bootstrap = _Bootstrap(resamples, seed)
    windows: dict[Window, int] = {"all": 0} if from_step is None else {"all": 0, "from_step": from_step}
    correlations: list[Correlation] = []
    differences: list[Difference] = []
    for group, members in groups(runs).items():
        for metric in dict.fromkeys(name for run in members for name in run.metrics):
            for window, start in windows.items():
                found = {
                    name: _correlation(group, members, metric, name, window, start, bootstrap)
                    for name in traced_figures()
                }
                correlations += found.values()
                differences += _differences(found, bootstrap)
    return tuple(correlations), tuple(differences)


def groups(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs by group, both in the order given."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.group, []).append(run)
    return found


def _correlation(
    group: str, runs: Sequence[Run], metric: str, name: str, window: Window, start: int, bootstrap: _Bootstrap
) -> Correlation:
    pairs = [_pairs(run, metric, name, start) for run in runs]
    pearson, spearman = (
        bootstrap.mean([_coefficient(pair, statistic) for pair in pairs]) for statistic in (pearsonr, spearmanr)
    )
    return Correlation(group, metric, name, window, tuple(len(pair[0]) for pair in pairs), pearson, spearman)


def _differences(found: dict[str, Correlation], bootstrap: _Bootstrap) -> Iterator[Difference]:
    for bdm, entropy in entropy_pairs():
        left, right = found[bdm], found[entropy]
        pearson, spearman = (
            bootstrap.mean(_distances(a, b))
            for a, b in ((left.pearson, right.pearson), (left.spearman, right.spearman))
        )
        yield Difference(left.group, left.metric, bdm, entropy, left.window, pearson, spearman)


def _pairs(run: Run, metric: str, name: str, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Figure and metric, each (n,) float64, over a run's checkpoints from a step on that have both."""
    both = [
        (value, point.metrics[metric])
        for point in run.points
        if point.step >= start and metric in point.metrics and (value := point.measures[name]) is not None
    ]
    left, right = np.array(both, dtype=np.float64).reshape(-1, 2).T
    return left, right


def _coefficient(pair: tuple[np.ndarray, np.ndarray], statistic: Callable[..., Any]) -> float | str:
    left, right = pair
    if len(left) < FEWEST:
        return f"{len(left)} checkpoints with both" if len(left) else "no checkpoint with both"
    for side, what in ((left, "measure"), (right, "metric")):
        if np.ptp(side) <= 1e-12 * np.abs(side).max():  # so that Pearson's does not measure rounding
            return f"the {what} is constant"
    coefficient = float(np.clip(statistic(left, right).statistic, -1, 1))
    return coefficient if math.isfinite(coefficient) else "the figures are too large"


def _distances(bdm: RunMean, entropy: RunMean) -> list[float | str]:
    """The difference of both sides' strengths run by run, or why a run has none."""
    values: list[float | str] = []
    for left, right in zip(bdm.values, entropy.values, strict=True):
        missing = " and ".join(name for name, value in (("BDM", left), ("entropy", right)) if value is None)
        values.append(f"no correlation of {missing}" if left is None or right is None else abs(left) - abs(right))
    return values
