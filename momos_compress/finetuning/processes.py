"""The processes of a run: one, or several that a launcher began, each with a share of every batch."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Sampler

from momos_compress.errors import MomosError

if TYPE_CHECKING:
    from timm.task import TrainingTask

    from momos_compress.finetuning.epochs import EpochOrder


def is_main() -> bool:
    """Whether this process speaks for all that a launcher began."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: Its number; 0 writes, and speaks for all.
        count: How many there are.
        device: Where this one computes.
        state: accelerate's own; None where there is one process alone.
    """

    rank: int
    count: int
    device: str
    state: Any = None

    @property
    def main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            self.state.wait_for_everyone()

    def share(self, order: "EpochOrder", *, training: bool) -> Sampler[list[tuple[int, int]]]:
        """Take this process's part of every batch.

        Args:
            order: Batches of all processes together.
            training: All parts are equal; else each sample is in one of them.

        Raises:
            MomosError: if batches cannot be shared equally.
        """
        if self.count == 1:
            return order
        if order.batch_size % self.count:
            raise MomosError(f"`batch_size` {order.batch_size} is no multiple of the {self.count} processes")
        if training and order.count < order.batch_size:
            raise MomosError(f"{order.count} samples are fewer than a batch; lower `batch_size` {order.batch_size}")
        from accelerate.data_loader import BatchSamplerShard

        parts: Sampler[list[tuple[int, int]]] = BatchSamplerShard(
            order, self.count, self.rank, split_batches=True, even_batches=False
        )
        return parts

    def sum(self, *values: float) -> list[float]:
        """Sum each value over all processes."""
        if self.count == 1:
            return list(values)
        from accelerate.utils import reduce

        total: Any = reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum")
        return [float(value) for value in total]

    def prepare(self, task: "TrainingTask", *, running: bool) -> None:
        """Let the processes train one network.

        Args:
            task: What they train.
            running: Batch norms learn statistics, which all processes take from the first.
        """
        if self.count > 1:
            ids = None if self.device == "cpu" else [torch.device(self.device).index]
            task.prepare_distributed(device_ids=ids, broadcast_buffers=running)

    def seed(self, *numbers: int) -> None:
        """Seed torch from these numbers and the rank: a run that was interrupted goes on with the same draws."""
        from hashlib import sha256

        text = "/".join(map(str, (*numbers, self.rank)))
        torch.manual_seed(int.from_bytes(sha256(text.encode()).digest()[:7], "big"))


def open_processes(device: str) -> Processes:
    """Join the processes that torch.distributed.run, or accelerate launch, tells of in the environment.

    Raises:
        MomosError: if there are several, and accelerate is not installed.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes(0, 1, device)
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MomosError(
            "a run of several processes needs accelerate; pip install 'momos-compress[finetune]'"
        ) from error
    state = PartialState(cpu=device == "cpu")
    return Processes(state.process_index, count, "cpu" if state.device.type == "cpu" else str(state.device), state)
