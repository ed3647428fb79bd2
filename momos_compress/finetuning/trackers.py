"""Metrics told to a tracker as well, through accelerate's trackers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from momos_compress.errors import MomosError, one_line

TRACKERS = ("tensorboard", "wandb")


@dataclass(frozen=True)
class Tracker:
    """A tracker that has been started. inner: accelerate's own."""

    inner: Any

    def log(self, row: Mapping[str, Any]) -> None:
        """Tell an epoch's figures, at its step."""
        self.inner.log({key: value for key, value in row.items() if key != "step"}, step=int(row["step"]))

    def finish(self) -> None:
        """Close the tracker: no more rows follow."""
        self.inner.finish()


def open_tracker(name: str, directory: Path, settings: Mapping[str, Any]) -> Tracker:
    """Start a tracker in the run's directory.

    Args:
        name: One of TRACKERS.
        directory: The run's directory.
        settings: What the tracker is told of the run.

    Raises:
        MomosError: if the name is unknown, or the tracker or accelerate is not installed.
    """
    if name not in TRACKERS:
        raise MomosError(f"unknown `tracker` {name!r}; choose from {', '.join(TRACKERS)}")
    try:
        from accelerate.tracking import TensorBoardTracker, WandBTracker

        kind = TensorBoardTracker if name == "tensorboard" else WandBTracker
        place = {"logging_dir": str(directory)} if name == "tensorboard" else {"dir": str(directory)}
        tracker = kind(run_name="tracker" if name == "tensorboard" else directory.name, **place)
        tracker.start()
    except (ImportError, NameError, ModuleNotFoundError) as error:
        raise MomosError(
            f"`tracker={name!r}` is not installed ({one_line(error, 80)}); pip install accelerate {name}"
        ) from error
    plain = {key: value for key, value in settings.items() if isinstance(value, int | float | str | bool)}
    tracker.store_init_configuration(plain)
    return Tracker(tracker)
