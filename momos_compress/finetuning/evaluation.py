"""Figures of a network on a set of samples: top-1, and the loss of a task."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from momos_compress.common.progress import Progress
from momos_compress.finetuning.epochs import EpochOrder, loader
from momos_compress.finetuning.processes import Processes
from momos_compress.finetuning.samples import SampleKind, Samples
from momos_compress.networks.forward import forward

if TYPE_CHECKING:
    from timm.task import TrainingTask


def accuracy(model: nn.Module, kind: SampleKind, samples: Samples, *, batch_size: int, device: str) -> dict[str, float]:
    """Measure top-1, in per cent, on labelled samples; the network is left in eval mode."""
    from timm.task import ClassificationEvaluator

    views, order = kind.views(samples), EpochOrder(len(samples.order), batch_size, seed=0, shuffle=False)
    evaluator = ClassificationEvaluator(device)
    model.eval()
    with torch.inference_mode():
        for batch, targets in loader(views, order):
            evaluator.update(forward(model, kind.prepare(batch)), targets.to(device))
    return {"top1": float(evaluator.compute()["top1"])}


def loss_and_accuracy(
    task: "TrainingTask",
    kind: SampleKind,
    samples: Samples,
    *,
    batch_size: int,
    processes: Processes,
    progress: Progress,
) -> dict[str, float]:
    """Measure the mean loss of a task, and top-1 in per cent where samples have classes.

    Networks are in eval mode, samples are not varied, and every process measures its share of them.
    """
    from timm.task import ClassificationEvaluator

    device = processes.device
    views, order = kind.views(samples), EpochOrder(len(samples.order), batch_size, seed=0, shuffle=False)
    evaluator, total = ClassificationEvaluator(device), 0.0
    task.eval()
    with torch.inference_mode():
        for batch, targets in loader(views, processes.share(order, training=False)):
            safe = targets if samples.labelled else targets.clamp(min=0)
            found = task(kind.prepare(batch), safe.to(device))
            total += float(found["loss"]) * len(targets)
            if samples.labelled:
                evaluator.update(found["output"], targets.to(device))
            progress("validation", len(targets), 0)
    figures = {"loss": processes.sum(total)[0] / len(samples.order)}
    if samples.labelled:
        figures["top1"] = float(evaluator.compute(processes.count > 1)["top1"])
    return figures
