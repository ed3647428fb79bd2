"""What a trace may be asked for. Imports nothing heavy."""

from dataclasses import dataclass

from momos_compress.measures.settings import MeasureSettings
from momos_compress.settings import seed_setting, setting


@dataclass(frozen=True)
class TraceSettings:
    """One trace's choices."""

    metrics: str = setting(
        "metrics.csv",
        help="CSV with a column step: a name in each run's directory, or one file (with a column run, where there are "
        "several runs).",
    )
    metric: tuple[str, ...] = setting(
        (), help="Column to correlate with; repeat for several. Default: every column of numbers."
    )
    from_step: int | None = setting(
        None, help="Give the correlations from this step on, too: the first steps can mislead.", least=0
    )
    planes: int = setting(MeasureSettings.planes, help="Bit-planes of QuBD.", least=1, most=16)
    resamples: int = setting(10_000, help="Resamples of the bootstrap over runs.", least=1)
    seed: int = seed_setting("Seed of the bootstrap.")
