"""What is asked of a compression to a budget: the file's size, or what may be lost."""

from dataclasses import dataclass

from momos_compress.data.registry import DATASETS, check_disjoint
from momos_compress.errors import MomosError
from momos_compress.settings import NO_CALIBRATION, SYNTHETIC, Settings


@dataclass(frozen=True)
class Budget:
    """What is asked for; exactly one of the three.

    Attributes:
        target_ratio: Bytes of the source over those of the file, at least.
        target_size: Bytes of the file, at most.
        max_drop: Points of accuracy, of agreement or of cosine that may be lost, at most.

    Examples:
        >>> import momos_compress as mc
        >>> mc.Budget(target_size=5_000_000).check()
        >>> mc.Budget(target_ratio=10, max_drop=0.5).check()
        Traceback (most recent call last):
            ...
        momos_compress.errors.MomosError: give one of `target_ratio` and `max_drop`, not both
    """

    target_ratio: float | None = None
    target_size: int | None = None
    max_drop: float | None = None

    def check(self) -> None:
        """Check that exactly one is given, and can be; MomosError where not."""
        given = [f"`{name}`" for name, value in vars(self).items() if value is not None]
        if len(given) != 1:
            names = ", ".join(f"`{name}`" for name in vars(self))
            raise MomosError(f"give one of {names}, not {' and '.join(given) or 'none'}")
        if self.target_ratio is not None and not 1 < self.target_ratio < 10**9:
            raise MomosError(f"`target_ratio` must be above 1, source over file, not {self.target_ratio:g}")
        if self.target_size is not None and self.target_size < 1:
            raise MomosError(f"`target_size` must be at least 1 byte, not {self.target_size}")
        if self.max_drop is not None and not 0 <= self.max_drop < 100:
            raise MomosError(f"`max_drop` must lie in 0..100 points, not {self.max_drop:g}")

    def most_bytes(self, source_bytes: int) -> int | None:
        """Turn into bytes that the file may have; None where its size is free."""
        return self.target_size if self.target_ratio is None else int(source_bytes / self.target_ratio)

    def to_json(self) -> dict[str, float]:
        """Turn into a JSON-ready record of what is given, under the report's names."""
        named = {"ratio": self.target_ratio, "file_bytes": self.target_size, "drop": self.max_drop}
        return {name: value for name, value in named.items() if value is not None}


def check_budget(settings: Settings, budget: Budget, data: str | None) -> None:
    """Check that settings and data go with a budget, before anything is loaded.

    Args:
        settings: Choices of the compression, without ``c`` and ``k``.
        budget: What is asked for.
        data: Labelled images to measure accuracy on.

    Raises:
        MomosError: if they do not go together.
    """
    budget.check()
    given = next((name for name in ("c", "k", "bits") if getattr(settings, name) is not None), None)
    if given is not None:
        raise MomosError(f"give either `{given}` or a target: a target chooses the number of motifs")
    check_disjoint(data, settings.calibrate)
    if budget.max_drop is not None and data is None and settings.calibrate in (None, NO_CALIBRATION, SYNTHETIC):
        names = ", ".join(sorted(DATASETS))
        raise MomosError(
            "`max_drop` needs data to measure on: `data` with labelled images, or `calibrate` with inputs without "
            f"labels, of which some are held out; by name there are: {names}"
        )
