"""The processes of a run: one, or several that a launcher began, each with a share of every batch."""

import os
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Sampler

from momos_compress.errors import MomosError

if TYPE_CHECKING:
    from timm.task import TrainingTask

    from momos_compress.finetuning.samples import EpochOrder


def is_main() -> bool:
    """Whether this process speaks for all that a launcher began."""
    return os.environ.get("RANK", "0") == "0"


class Processes:
    """This process among ``count``; ``rank`` 0 writes, and speaks for all.

    The processes are those that torch.distributed.run, or accelerate launch, says there are in the environment.
    """

    def __init__(self, device: str) -> None:
        self.rank, self.count, self.device = 0, int(os.environ.get("WORLD_SIZE", "1")), device
        if self.count > 1:
            try:
                from accelerate import PartialState
            except ImportError as error:
                raise MomosError(
                    "a run of several processes needs accelerate; pip install 'momos-compress[finetune]'"
                ) from error
            self._state = PartialState(cpu=device == "cpu")
            self.rank = self._state.process_index
            self.device = "cpu" if self._state.device.type == "cpu" else str(self._state.device)

    @property
    def main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.count > 1:
            self._state.wait_for_everyone()

    def share(self, order: "EpochOrder", *, training: bool) -> Sampler[list[tuple[int, int]]]:
        """This process's part of every batch; in training all parts are equal, else each image is in one of them."""
        if self.count == 1:
            return order
        if order.batch_size % self.count:
            raise MomosError(f"--batch-size {order.batch_size} is no multiple of the {self.count} processes")
        if training and order.count < order.batch_size:
            raise MomosError(f"{order.count} samples are fewer than a batch; lower --batch-size {order.batch_size}")
        from accelerate.data_loader import BatchSamplerShard

        parts: Sampler[list[tuple[int, int]]] = BatchSamplerShard(
            order, self.count, self.rank, split_batches=True, even_batches=False
        )
        return parts

    def sum(self, *values: float) -> list[float]:
        """The sums of these over all processes."""
        if self.count == 1:
            return list(values)
        from accelerate.utils import reduce

        total: Any = reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum")
        return [float(value) for value in total]

    def prepare(self, task: "TrainingTask", *, running: bool) -> None:
        """Let the processes train one network. running: batch norms learn statistics, which all take from the first."""
        if self.count > 1:
            ids = None if self.device == "cpu" else [torch.device(self.device).index]
            task.prepare_distributed(device_ids=ids, broadcast_buffers=running)

    def seed(self, *numbers: int) -> None:
        """Draw anew from here on: the same after an interrupted run as without, and other numbers in each process."""
        from hashlib import sha256

        text = "/".join(map(str, (*numbers, self.rank)))
        torch.manual_seed(int.from_bytes(sha256(text.encode()).digest()[:7], "big"))
