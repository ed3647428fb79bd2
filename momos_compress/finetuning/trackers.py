"""Metrics told to a tracker as well, through accelerate's trackers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from momos_compress.errors import MomosError, one_line

TRACKERS = ("tensorboard", "wandb")


class Tracker:
    """One of TRACKERS, in the run's directory; MomosError where it, or accelerate, is not installed."""

    def __init__(self, name: str, directory: Path, settings: Mapping[str, Any]) -> None:
        if name not in TRACKERS:
            raise MomosError(f"unknown --tracker {name!r}; choose from {', '.join(TRACKERS)}")
        try:
            from accelerate.tracking import TensorBoardTracker, WandBTracker

            kind = TensorBoardTracker if name == "tensorboard" else WandBTracker
            place = {"logging_dir": str(directory)} if name == "tensorboard" else {"dir": str(directory)}
            self._tracker = kind(run_name="tracker" if name == "tensorboard" else directory.name, **place)
            self._tracker.start()
        except (ImportError, NameError, ModuleNotFoundError) as error:
            raise MomosError(
                f"--tracker {name} is not installed ({one_line(error, 80)}); pip install accelerate {name}"
            ) from error
        plain = {key: value for key, value in settings.items() if isinstance(value, int | float | str | bool)}
        self._tracker.store_init_configuration(plain)

    def log(self, row: Mapping[str, Any]) -> None:
        """An epoch's figures, at its step."""
        self._tracker.log({key: value for key, value in row.items() if key != "step"}, step=int(row["step"]))

    def finish(self) -> None:
        """No more are to come."""
        self._tracker.finish()
