"""The training loop: epochs, validation, checkpoints; the same for both modes."""

import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.utils.data import Sampler

from momos_compress.errors import MomosError
from momos_compress.finetuning.checkpoints import Checkpoints
from momos_compress.finetuning.epochs import EpochOrder, loader
from momos_compress.finetuning.evaluation import loss_and_accuracy
from momos_compress.finetuning.log import Log
from momos_compress.finetuning.mode import TrainingMode
from momos_compress.finetuning.optimiser import make_schedule
from momos_compress.finetuning.samples import Place, Samples, Views
from momos_compress.finetuning.setup import TrainingSetup
from momos_compress.finetuning.trackers import open_tracker

if TYPE_CHECKING:
    from timm.task import TrainingTask


@dataclass
class Trainer:
    """A run under way.

    Attributes:
        setup: What the run works with.
        mode: What trains.
        task: Gives the loss of a batch.
        optimiser: Changes the weights.
        scheduler: Changes its learning rates.
        checkpoints: Where the run is, and its states on the disk.
        log: Metrics of the epochs so far.
        views: The training samples as the network sees them.
        order: Batches of the epoch under way, of all processes together.
        batches: This process's share of them.
        best_epoch: The best epoch by validation, counted from 1; 0 until the run has ended.
    """

    setup: TrainingSetup
    mode: TrainingMode
    task: "TrainingTask"
    optimiser: torch.optim.Optimizer
    scheduler: Any
    checkpoints: Checkpoints
    log: Log
    views: Views
    order: EpochOrder
    batches: Sampler[list[Place]]
    best_epoch: int = field(init=False, default=0)

    @property
    def model(self) -> nn.Module:
        """The network that trains."""
        return self.mode.model

    @property
    def updates(self) -> int:
        """Steps of the optimiser in an epoch."""
        return _updates(self.order, self.setup)

    def resume(self) -> bool:
        """Go on where the run's newest checkpoint is; returns whether there is one."""
        processes = self.setup.processes
        processes.wait()
        state = self.checkpoints.latest()
        if state is None:
            return False
        self.checkpoints.resume(state)
        if not processes.main:  # what was kept are the sums of all
            self.checkpoints.position.loss_sum, self.checkpoints.position.seen = 0.0, 0
        self.log.read(self.checkpoints.position.epoch)
        return True

    def run(self) -> None:
        """Train through all epochs that are left, and leave the network in the state of the best one."""
        position, processes, settings = self.checkpoints.position, self.setup.processes, self.setup.settings
        processes.prepare(self.task, running=settings.batch_norm == "running")
        tracker = None
        if processes.main and settings.tracker is not None:
            tracker = open_tracker(settings.tracker, self.setup.directory, vars(settings))
        while position.epoch < settings.epochs:
            row = self._epoch_and_validation()
            if processes.main:
                self.log.add(row)
                if tracker is not None:
                    tracker.log(row)
            position.next_epoch()
            if processes.main:
                self.checkpoints.epoch_done(row[f"validation_{criterion(self.setup)}"])
            processes.wait()
        if tracker is not None:
            tracker.finish()
        best = self.checkpoints.best()
        self.best_epoch = int(best["epoch"])
        self.model.load_state_dict(best["state_dict"])

    def _epoch_and_validation(self) -> dict[str, Any]:
        """One epoch, what follows it, and its row of the log."""
        position, start = self.checkpoints.position, time.perf_counter()
        self._epoch()
        extra = self.mode.after_epoch(position.epoch)
        validation = self.measure(self.setup.splits.validation)
        if not math.isfinite(validation["loss"]):
            raise self._diverged(validation["loss"], "on the validation samples after")
        loss_sum, seen = self.setup.processes.sum(position.loss_sum, position.seen)
        return {
            "epoch": position.epoch + 1,
            "step": (position.epoch + 1) * self.updates,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "train_loss": loss_sum / max(1, seen),
            **{f"validation_{name}": value for name, value in validation.items()},
            **extra,
            "seconds": position.seconds + time.perf_counter() - start,
        }

    def _epoch(self) -> None:
        setup, settings = self.setup, self.setup.settings
        position, start = self.checkpoints.position, time.perf_counter()
        self._to_train_mode()
        self.order.epoch, self.order.start = position.epoch, position.batch
        setup.processes.seed(settings.seed, position.epoch, position.batch)
        share, waiting, before = settings.accumulate, 0, position.seconds
        whole = self.updates * share  # what is left over would be a step of fewer batches
        for batch, targets in loader(self.views, self.batches, workers=settings.workers):
            if position.batch >= whole:
                break
            torch.autograd.backward(self._loss(batch, targets) / share)
            waiting += 1
            position.batch += 1
            if waiting == share:
                waiting, step = 0, position.batch // share
                self._step(position.epoch * self.updates + step - 1)
                if settings.save_every and step % settings.save_every == 0 and step < self.updates:
                    position.seconds = before + time.perf_counter() - start
                    self._save()
            setup.progress(f"epoch {position.epoch + 1} of {settings.epochs}", len(targets), len(self.views))
        position.seconds = before

    def _loss(self, batch: Any, targets: torch.Tensor) -> torch.Tensor:
        """The loss of a batch, which is added to those of the epoch."""
        setup, position = self.setup, self.checkpoints.position
        safe = targets if setup.splits.train.labelled else targets.clamp(min=0)
        with self._autocast():
            loss: torch.Tensor = self.task(setup.kind.prepare(batch), safe.to(setup.processes.device))["loss"]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(value, f"in step {position.batch // setup.settings.accumulate + 1} of")
        position.loss_sum += value * len(targets)
        position.seen += len(targets)
        return loss

    def _step(self, update: int) -> None:
        self.scheduler.step_update(update)
        self.optimiser.step()
        self.optimiser.zero_grad()

    def _diverged(self, loss: float, where: str) -> MomosError:
        epoch = self.checkpoints.position.epoch + 1
        return MomosError(
            f"the loss is {loss} {where} epoch {epoch}; the last good checkpoint stays in "
            f"{str(self.setup.directory)!r}: lower the learning rate"
        )

    def _save(self) -> None:
        """Keep the state in the middle of an epoch, with the sums of all processes."""
        position, processes = self.checkpoints.position, self.setup.processes
        own = position.loss_sum, position.seen
        total = processes.sum(*own)
        if processes.main:
            position.loss_sum, position.seen = total[0], int(total[1])
            self.checkpoints.within_epoch()
            position.loss_sum, position.seen = own
        processes.seed(self.setup.settings.seed, position.epoch, position.batch)

    def measure(self, samples: Samples) -> dict[str, float]:
        """Measure mean loss on a set, and top-1 in per cent where it has classes."""
        return loss_and_accuracy(
            self.task,
            self.setup.kind,
            samples,
            batch_size=self.setup.settings.batch_size,
            processes=self.setup.processes,
            progress=self.setup.progress,
        )

    def _to_train_mode(self) -> None:
        self.task.train()
        if self.setup.settings.batch_norm == "fixed":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _autocast(self) -> AbstractContextManager[Any]:
        if not self.setup.settings.bfloat16:
            return nullcontext()
        return torch.autocast(torch.device(self.setup.processes.device).type, torch.bfloat16)


def open_trainer(
    setup: TrainingSetup, mode: TrainingMode, task: "TrainingTask", optimiser: torch.optim.Optimizer, identity: str
) -> Trainer:
    """Bring together what a run needs; nothing is trained or written yet.

    Args:
        setup: What the run works with.
        mode: What trains.
        task: Gives the loss of a batch.
        optimiser: Changes the parameters of ``mode``.
        identity: What tells this run from others; its checkpoints carry it.
    """
    settings, train = setup.settings, setup.splits.train
    order = EpochOrder(len(train.order), settings.batch_size, seed=settings.seed)
    views = setup.kind.views(train, augment=settings.augment, seed=settings.seed)
    batches = setup.processes.share(order, training=True)
    scheduler = make_schedule(optimiser, settings, _updates(order, setup))
    lower = criterion(setup) == "loss"
    checkpoints = Checkpoints(mode.model, optimiser, setup.directory, identity, lower=lower)
    return Trainer(setup, mode, task, optimiser, scheduler, checkpoints, Log(setup.directory), views, order, batches)


def criterion(setup: TrainingSetup) -> Literal["loss", "top1"]:
    """The validation figure that the best epoch is chosen by: the least loss, or the greatest top-1.

    Against a teacher, how far outputs are from its own says more than how many of few images come out right.
    """
    return "loss" if setup.loss == "distil" else "top1"


def _updates(order: EpochOrder, setup: TrainingSetup) -> int:
    return max(1, order.batches // setup.settings.accumulate)
