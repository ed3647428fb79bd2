"""The task of a sequence classifier of transformers: its own loss, the distance to a teacher's scores, or both."""

from typing import Any

import torch
from timm.task import TrainingTask
from torch import nn
from torch.nn import functional

from momos_compress.finetuning.settings import LABELS_SHARE, FinetuneSettings, Loss


class TextTask(TrainingTask):  # type: ignore[misc]
    """Called with a dictionary of tensors and classes (n,); gives "loss" and "output" as timm's tasks do."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module | None, settings: FinetuneSettings, loss: Loss, device: str
    ) -> None:
        super().__init__(device=torch.device(device), verbose=False)
        self.trainable_module, self.teacher = student, teacher
        self.temperature, self.smoothing, self.loss = settings.temperature, settings.smoothing, loss
        if teacher is not None:
            teacher.requires_grad_(False)

    def train(self, mode: bool = True) -> "TextTask":
        """Put the student into train mode; the teacher stays in eval mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def prepare_distributed(self, device_ids: list[Any] | None = None, **options: Any) -> "TextTask":
        """Share the student alone among processes."""
        self.trainable_module = nn.parallel.DistributedDataParallel(
            self.trainable_module, device_ids=device_ids, **options
        )
        return self

    def forward(self, inputs: dict[str, torch.Tensor], targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute "loss" and "output", scores (n, classes)."""
        own = self.loss != "distil" and not self.smoothing
        found = self.trainable_module(**inputs, **({"labels": targets} if own else {}))
        total = torch.zeros((), device=found.logits.device)
        if self.loss != "distil":
            smoothed = functional.cross_entropy(found.logits, targets, label_smoothing=self.smoothing)
            total = total + (LABELS_SHARE if self.loss == "both" else 1.0) * (found.loss if own else smoothed)
        if self.teacher is not None:
            with torch.no_grad():
                wanted = self.teacher(**inputs).logits
            distance = functional.kl_div(
                functional.log_softmax(found.logits / self.temperature, dim=-1),
                functional.log_softmax(wanted / self.temperature, dim=-1),
                log_target=True,
                reduction="batchmean",
            )
            total = total + (1 - LABELS_SHARE if self.loss == "both" else 1.0) * self.temperature**2 * distance
        return {"loss": total, "output": found.logits}
