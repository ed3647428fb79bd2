"""What a trace may be asked for. Imports nothing heavy, so that the command line can show its defaults at once."""

from dataclasses import dataclass

from momos_compress.measures.settings import MeasureSettings


@dataclass(frozen=True)
class TraceSettings:
    """One trace's choices; the one home of their defaults.

    metrics: the CSV of metrics: a name in each run's directory, or the path of one file for all runs.
    metric: the columns to correlate with; empty takes every column of numbers. from_step: correlations are given over
    the checkpoints from this step on, too. planes: bit-planes of QuBD. resamples, seed: of the bootstrap over runs.
    """

    metrics: str = "metrics.csv"
    metric: tuple[str, ...] = ()
    from_step: int | None = None
    planes: int = MeasureSettings.planes
    resamples: int = 10_000
    seed: int = 0
