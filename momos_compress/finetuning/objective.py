"""What training makes small: cross-entropy with labels, the distance to a teacher's outputs, or both."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from momos_compress.errors import MomosError
from momos_compress.finetuning.settings import LABELS_SHARE, FinetuneSettings, Loss

if TYPE_CHECKING:
    from timm.task import TrainingTask


def chosen_loss(settings: FinetuneSettings, *, teacher: bool) -> Loss:
    """Choose the loss that ``settings`` leave open: "distil" where there is a teacher, in mode "paper" "labels".

    Raises:
        MomosError: if the loss asked for needs a teacher, and there is none.
    """
    loss: Loss = settings.loss or ("distil" if teacher and settings.mode != "paper" else "labels")
    if loss != "labels" and not teacher:
        raise MomosError(
            f"`loss={loss!r}` needs the original network to learn from; name it with `teacher`, or use `loss='labels'`"
        )
    return loss


def objective(
    student: nn.Module, teacher: nn.Module | None, settings: FinetuneSettings, loss: Loss, device: str
) -> "TrainingTask":
    """Make timm's task, or one that is called as timm's are.

    Called with a batch and its classes (n,), it gives a dictionary of "loss" and "output" (n, classes).

    Args:
        student: The network that trains.
        teacher: The network that is learnt from.
        settings: Temperature and smoothing.
        loss: What is made small.
        device: Where both networks are.
    """
    from timm.task import ClassificationTask, DistillationTeacher, LogitDistillationTask

    if not hasattr(student, "pretrained_cfg"):
        from momos_compress.finetuning.text_task import TextTask

        return TextTask(student, teacher if loss != "labels" else None, settings, loss, device)

    criterion = nn.CrossEntropyLoss(label_smoothing=settings.smoothing)
    place = torch.device(device)
    if loss == "labels" or teacher is None:
        return ClassificationTask(student, criterion, device=place, verbose=False)
    teacher.requires_grad_(False)
    weights = {"distill_loss_weight": 1.0, "task_loss_weight": 0.0} if loss == "distil" else {
        "task_loss_weight": LABELS_SHARE
    }  # fmt: skip
    return LogitDistillationTask(
        student,
        DistillationTeacher(teacher, device=place),  # given the network alone, timm asks it for its channels
        criterion,
        temperature=settings.temperature,
        device=place,
        verbose=False,
        **weights,
    )
