"""The training loop: epochs, validation, checkpoints; the same for every mode."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from momos_compress.errors import MomosError
from momos_compress.finetuning.checkpoints import Checkpoints
from momos_compress.finetuning.log import Log
from momos_compress.finetuning.processes import Processes
from momos_compress.finetuning.samples import EpochOrder, Kind, Samples, Splits, loader
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.trackers import Tracker
from momos_compress.networks.forward import forward

if TYPE_CHECKING:
    from timm.task import TrainingTask

Tell = Callable[[str, int, int], None]
AfterEpoch = Callable[[int], Mapping[str, float]]


@dataclass
class Trainer:
    """One run's network, its samples and its optimiser.

    model: what the task trains. criterion: the validation figure that the best epoch has, "loss" (the least) or "top1".
    after_epoch: told the epoch, may change the network, and returns figures for the log.
    """

    task: "TrainingTask"
    model: nn.Module
    kind: Kind
    splits: Splits
    settings: FinetuneSettings
    optimiser: torch.optim.Optimizer
    criterion: Literal["loss", "top1"]
    identity: str
    directory: Path
    processes: Processes
    tell: Tell
    after_epoch: AfterEpoch = lambda epoch: {}
    checkpoints: Checkpoints = field(init=False)
    best_epoch: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        settings, train, self.device = self.settings, self.splits.train, self.processes.device
        self.views = self.kind.views(train, augment=settings.augment, seed=settings.seed)
        self.order = EpochOrder(len(train.order), settings.batch_size, seed=settings.seed)
        self.batches = self.processes.share(self.order, training=True)
        self.updates = max(1, len(self.order) // settings.accumulate)
        self.scheduler = _schedule(self.optimiser, settings, self.updates)
        self.checkpoints = Checkpoints(
            self.model, self.optimiser, self.directory, self.identity, lower=self.criterion == "loss"
        )
        self.log = Log(self.directory)

    def resume(self) -> bool:
        """Go on where the run's newest checkpoint is, if there is one."""
        self.processes.wait()
        state = self.checkpoints.latest()
        if state is None:
            return False
        self.checkpoints.resume(state)
        if not self.processes.main:  # what was kept are the sums of all
            self.checkpoints.progress.loss_sum, self.checkpoints.progress.seen = 0.0, 0
        self.log.read(self.checkpoints.progress.epoch)
        return True

    def run(self) -> None:
        """All epochs that are left; the network ends in the state of the best."""
        progress, processes = self.checkpoints.progress, self.processes
        processes.prepare(self.task, running=self.settings.batch_norm == "running")
        tracker = None
        if processes.main and self.settings.tracker is not None:
            tracker = Tracker(self.settings.tracker, self.directory, vars(self.settings))
        while progress.epoch < self.settings.epochs:
            start = time.perf_counter()
            self._epoch()
            extra = self.after_epoch(progress.epoch)
            validation = self.measure(self.splits.validation)
            if not math.isfinite(validation["loss"]):
                raise self._diverged(validation["loss"], "on the validation samples after")
            row = {
                "epoch": progress.epoch + 1,
                "step": (progress.epoch + 1) * self.updates,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "train_loss": _mean(*processes.sum(progress.loss_sum, progress.seen)),
                **{f"validation_{name}": value for name, value in validation.items()},
                **extra,
                "seconds": progress.seconds + time.perf_counter() - start,
            }
            if processes.main:
                self.log.add(row)
                if tracker is not None:
                    tracker.log(row)
            progress.epoch, progress.batch, progress.loss_sum, progress.seen = progress.epoch + 1, 0, 0.0, 0
            progress.seconds = 0.0
            if processes.main:
                self.checkpoints.epoch_done(row[f"validation_{self.criterion}"])
            processes.wait()
        if tracker is not None:
            tracker.finish()
        best = self.checkpoints.best()
        self.best_epoch = int(best["epoch"])
        self.model.load_state_dict(best["state_dict"])

    def _epoch(self) -> None:
        settings, progress, start = self.settings, self.checkpoints.progress, time.perf_counter()
        self._mode()
        self.order.epoch, self.order.start = progress.epoch, progress.batch
        self.processes.seed(settings.seed, progress.epoch, progress.batch)
        share, waiting, before = settings.accumulate, 0, progress.seconds
        whole = self.updates * share  # what is left over would be a step of fewer batches
        for batch, targets in loader(self.views, self.batches, workers=settings.workers):
            if progress.batch >= whole:
                break
            targets = targets.clamp(min=0) if not self.splits.train.labelled else targets
            with self._autocast():
                loss = self.task(self.kind.prepare(batch), targets.to(self.device))["loss"]
            value = float(loss.detach())
            if not math.isfinite(value):
                raise self._diverged(value, f"in step {progress.batch // share + 1} of")
            (loss / share).backward()
            waiting += 1
            progress.batch += 1
            progress.loss_sum += value * len(targets)
            progress.seen += len(targets)
            if waiting == share:
                self.scheduler.step_update(progress.epoch * self.updates + progress.batch // share - 1)
                self.optimiser.step()
                self.optimiser.zero_grad()
                waiting = 0
                step = progress.batch // share
                if settings.save_every and step % settings.save_every == 0 and step < self.updates:
                    progress.seconds = before + time.perf_counter() - start
                    self._save()
            self.tell(f"epoch {progress.epoch + 1} of {settings.epochs}", len(targets), len(self.views))
        progress.seconds = before

    def _diverged(self, loss: float, where: str) -> MomosError:
        epoch = self.checkpoints.progress.epoch + 1
        return MomosError(
            f"the loss is {loss} {where} epoch {epoch}; the last good checkpoint stays in {str(self.directory)!r}: "
            "lower the learning rate"
        )

    def _save(self) -> None:
        progress = self.checkpoints.progress
        own = progress.loss_sum, progress.seen
        total = self.processes.sum(*own)
        if self.processes.main:
            progress.loss_sum, progress.seen = total[0], int(total[1])
            self.checkpoints.within_epoch()
            progress.loss_sum, progress.seen = own
        self.processes.seed(self.settings.seed, progress.epoch, progress.batch)

    def measure(self, samples: Samples) -> dict[str, float]:
        """Mean loss over a set, and top-1 in per cent where it has classes; in eval mode, nothing varied."""
        from timm.task import ClassificationEvaluator

        views = self.kind.views(samples)
        order = EpochOrder(len(samples.order), self.settings.batch_size, seed=0, shuffle=False)
        evaluator, total = ClassificationEvaluator(self.device), 0.0
        self.task.eval()
        with torch.inference_mode():
            for batch, targets in loader(views, self.processes.share(order, training=False)):
                safe = targets if samples.labelled else targets.clamp(min=0)
                found = self.task(self.kind.prepare(batch), safe.to(self.device))
                total += float(found["loss"]) * len(targets)
                if samples.labelled:
                    evaluator.update(found["output"], targets.to(self.device))
                self.tell("validation", len(targets), 0)
        figures = {"loss": self.processes.sum(total)[0] / len(samples.order)}
        several = self.processes.count > 1
        return figures | ({"top1": float(evaluator.compute(several)["top1"])} if samples.labelled else {})

    def _mode(self) -> None:
        self.task.train()
        if self.settings.batch_norm == "fixed":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _autocast(self) -> ExitStack:
        stack = ExitStack()
        if self.settings.bfloat16:
            stack.enter_context(torch.autocast(torch.device(self.device).type, torch.bfloat16))
        return stack


def _mean(total: float, count: float) -> float:
    return total / max(1, count)


def accuracy(model: nn.Module, kind: Kind, samples: Samples, batch_size: int, device: str) -> dict[str, float]:
    """Top-1 in per cent of a network on labelled samples; it is left in eval mode."""
    from timm.task import ClassificationEvaluator

    views, order = kind.views(samples), EpochOrder(len(samples.order), batch_size, seed=0, shuffle=False)
    evaluator = ClassificationEvaluator(device)
    model.eval()
    with torch.inference_mode():
        for batch, targets in loader(views, order):
            evaluator.update(forward(model, kind.prepare(batch)), targets.to(device))
    return {"top1": float(evaluator.compute()["top1"])}


def _schedule(optimiser: torch.optim.Optimizer, settings: FinetuneSettings, updates: int) -> Any:
    from timm.scheduler import create_scheduler_v2

    warmup = min(settings.warmup_steps, settings.epochs * updates // 5)
    scheduler, _ = create_scheduler_v2(
        optimiser,
        "cosine",
        settings.epochs,
        warmup_epochs=warmup / updates,
        warmup_lr=0.0,
        step_on_epochs=False,
        updates_per_epoch=updates,
    )
    return scheduler
