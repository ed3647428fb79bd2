"""Checkpoints of a run: whole or not there, and only ever read back by the run that wrote them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from timm.utils import CheckpointSaver

from momos_compress.common.atomic import atomic_writer
from momos_compress.errors import MomosError, one_line


@dataclass
class RunPosition:
    """Where a run is.

    Attributes:
        epoch: Whole epochs done.
        batch: Batches done in the epoch under way.
        loss_sum: Sum of the losses of its samples so far.
        seen: How many samples that is.
        seconds: Time that it has taken so far.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    seen: int = 0
    seconds: float = 0.0

    def next_epoch(self) -> None:
        """Count the epoch under way as done."""
        self.epoch, self.batch, self.loss_sum, self.seen, self.seconds = self.epoch + 1, 0, 0.0, 0, 0.0


class Checkpoints(CheckpointSaver):  # type: ignore[misc]
    """timm's saver, which keeps where the run is and whose it is beside network and optimiser.

    Args:
        model: The network.
        optimiser: What trains it.
        directory: Where checkpoints lie.
        identity: What tells this run from others.
        lower: Whether the best epoch has the least figure, not the greatest.
    """

    def __init__(
        self, model: torch.nn.Module, optimiser: torch.optim.Optimizer, directory: Path, identity: str, lower: bool
    ) -> None:
        super().__init__(
            model,
            optimiser,
            checkpoint_dir=str(directory),
            recovery_dir=str(directory),
            decreasing=lower,
            max_history=1,
            unwrap_fn=lambda module: module,
        )
        self.directory, self.identity, self.position = directory, identity, RunPosition()

    def _save(self, save_path: str, epoch: int, metric: float | None = None) -> None:
        state = {
            "identity": self.identity,
            "epoch": epoch,
            "progress": vars(self.position),
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "metric": metric,
            "saver": self.state_dict(epoch, metric),
        }
        try:
            with atomic_writer(Path(save_path)) as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch's own words for a disk that is full
            raise MomosError(f"writing {save_path!r} failed: {one_line(error)}; the one before it stays") from error

    def epoch_done(self, metric: float) -> bool:
        """Keep the state after an epoch; returns whether it is the best so far."""
        done = self.position.epoch
        self.save_checkpoint(done, metric)
        for path in self.directory.glob(f"recovery-*{self.extension}"):
            path.unlink()
        return bool(self.best_epoch == done)

    def within_epoch(self) -> None:
        """Keep the state in the middle of an epoch, in place of the one before."""
        self.save_recovery(self.position.epoch, self.position.batch)
        for path in self.directory.glob(f"recovery-*{self.extension}"):
            if str(path) != self.curr_recovery_file:
                path.unlink()

    def latest(self) -> dict[str, Any] | None:
        """Read the newest state of this run, None where there is none.

        Raises:
            MomosError: if the state is another run's, or damaged.
        """
        paths = [self.directory / f"last{self.extension}", *self.directory.glob(f"recovery-*{self.extension}")]
        states = [self._load(path) for path in paths if path.is_file()]
        return max(states, key=lambda state: (state["progress"]["epoch"], state["progress"]["batch"]), default=None)

    def best(self) -> dict[str, Any]:
        """Read the state of the best epoch."""
        return self._load(self.directory / f"model_best{self.extension}")

    def _load(self, path: Path) -> dict[str, Any]:
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            identity = state["identity"]
        except Exception as error:  # torch raises what a damaged file leads it to
            raise MomosError(
                f"{path}: not a checkpoint of a run, or damaged ({one_line(error, 120)}); remove it, and `resume` goes "
                "on from the one before, or begins anew"
            ) from error
        if identity != self.identity:
            raise MomosError(
                f"{path} is of another run: its network, data or settings differ; repeat that run's own command, or "
                "choose another directory with `output`"
            )
        return state

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of ``latest``."""
        self.model.load_state_dict(state["state_dict"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = RunPosition(**state["progress"])
        self.load_state_dict(state["saver"])
        if state["metric"] is not None and self.best_epoch == state["epoch"]:  # killed before it took its second name
            self._duplicate(self.directory / f"last{self.extension}", self.directory / f"model_best{self.extension}")
