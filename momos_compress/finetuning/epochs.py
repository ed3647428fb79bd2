"""The batches of an epoch.

Which samples a batch holds, and how each is varied, depend on the seed, the epoch and the sample alone: not on how many
workers or processes there are, nor on whether a run was interrupted.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from momos_compress.finetuning.samples import Place, Views


def seeded(make: Callable[[], Any], *numbers: int) -> Any:
    """Call ``make`` with random numbers that follow from ``numbers`` alone; those of the process go on as before."""
    number = random.Random("/".join(map(str, numbers))).getrandbits(63)
    state, own = torch.get_rng_state(), random.getstate()
    torch.default_generator.manual_seed(number)
    random.seed(number)  # timm's random crops draw from it
    try:
        return make()
    finally:
        torch.set_rng_state(state)
        random.setstate(own)


class EpochOrder(Sampler[list[Place]]):
    """Batches of (epoch, position), in a new order every epoch.

    What is left over after whole batches is left out of the epoch; fewer samples than one batch make one.

    Args:
        count: Samples in the set.
        batch_size: Samples in a batch.
        seed: Seed of the orders.
        shuffle: False: all samples in their own order, the last batch as small as it is.

    Attributes:
        epoch: The epoch whose batches are given.
        start: Batches to leave out at its beginning, where a run goes on.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, shuffle: bool = True) -> None:
        self.count, self.batch_size, self.seed, self.shuffle = count, batch_size, seed, shuffle
        self.epoch = self.start = 0

    @property
    def batches(self) -> int:
        """Batches of a whole epoch."""
        return max(1, self.count // self.batch_size if self.shuffle else -(-self.count // self.batch_size))

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[Place]]:
        order = list(range(self.count))
        if self.shuffle:
            number = random.Random(f"{self.seed}/{self.epoch}").getrandbits(63)
            order = torch.randperm(self.count, generator=torch.Generator().manual_seed(number)).tolist()
        for batch in range(self.start, self.start + len(self)):
            places = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, position) for position in places]


def loader(views: Views, order: Sampler[list[Place]], *, workers: int = 0) -> DataLoader[Any]:
    """Load batches, each of items as ``views`` collates them and classes (n,)."""
    data: Any = views
    return DataLoader(data, batch_sampler=order, num_workers=workers, collate_fn=views.collate)
