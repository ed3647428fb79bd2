"""Whole layers through the compiled loops: panels of columns, and what a panel does to the columns after it.

As in GPTQ (arXiv 2210.17323) the columns after a panel are brought up to date all at once, by a matrix product.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from momos_compress.calibration.kernels.tree import MotifTree, memory_for

PANEL = 128
"""Columns of a panel, about: GPTQ's number."""


def threads() -> int:
    """Threads that loops run on: torch's, and no more than numba is allowed."""
    import numba

    return int(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))


class Team:
    """Threads that share the lines of a layer; each has its part, and memory of its own.

    Threads of Python's, not of numba's: those do not survive a fork, or may not be asked by two threads at once. They
    end with the ``with`` that they are made for, however it ends.
    """

    def __init__(self, lines: int, tree: MotifTree | None = None) -> None:
        count = max(1, min(threads(), lines))
        cuts = [lines * i // count for i in range(count + 1)]
        memory = [() if tree is None else (memory_for(tree),) for _ in range(count)]
        self._parts = [(low, high, *own) for low, high, own in zip(cuts[:-1], cuts[1:], memory, strict=True)]
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, loop: Callable[..., None], *arguments: object) -> None:
        """Run a loop over all lines: before these arguments it takes its first line, its end, and memory for a tree."""
        if self._pool is None:
            loop(*self._parts[0], *arguments)
            return
        for done in [self._pool.submit(loop, *part, *arguments) for part in self._parts]:
            done.result()


def metrics_of(curvature: torch.Tensor) -> torch.Tensor:
    """Maps after which plain distance is that of a quadratic form.

    Args:
        curvature: (..., s, s) positive definite, A.

    Returns:
        L (..., s, s) float32 with L L^T = A, along A's own axes: boxes lie closest in these.
    """
    values, axes = torch.linalg.eigh(curvature.double())
    found: torch.Tensor = axes * values.clamp(min=0).sqrt()[..., None, :]
    return found.float().contiguous()


def independent(tree: MotifTree, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The cheapest motif of each block by itself.

    Args:
        tree: The codebook.
        targets: (groups, rows, columns), whole blocks.
        weight: (groups, rows), what a bit costs there in squared distance.

    Returns:
        (groups, rows, blocks) int32.
    """
    from momos_compress.calibration.kernels.loops import independently

    groups, rows, width = targets.shape
    s = tree.book.shape[1]
    out = torch.empty(groups, rows, width // s, dtype=torch.int32)
    lines = targets.reshape(groups * rows, width).contiguous().numpy()
    weights, identity = weight.reshape(-1).contiguous().numpy(), torch.eye(s).numpy()
    into, dims = out.reshape(groups * rows, -1).numpy(), (0,) * s
    with Team(groups * rows, tree) as team:
        team.run(independently, tree, lines, weights, identity, into, dims)
    return out


def greedy(tree: MotifTree, left: torch.Tensor, upper: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Assign blocks one after the other, where later ones answer for the errors of earlier ones.

    Args:
        tree: The codebook.
        left: (groups, rows, columns), the targets; changed.
        upper: (groups, columns, columns) upper triangular, how errors move on.
        weight: (groups, rows).

    Returns:
        (groups, rows, blocks) int32.
    """
    from momos_compress.calibration.kernels.loops import greedily

    groups, rows, width = left.shape
    s = tree.book.shape[1]
    inverse = torch.linalg.inv(_own_blocks(upper, s)).contiguous()
    metrics = metrics_of(inverse.double() @ inverse.double().transpose(2, 3)).numpy()
    out = torch.empty(groups, rows, width // s, dtype=torch.int32)
    held = [tensor.contiguous().numpy() for tensor in (left, weight, upper, inverse)]
    with Team(groups * rows, tree) as team:
        for low, high in panels(width, s):
            errors = torch.empty(groups, rows, high - low)
            panel = (low // s, high // s), tree, *held, metrics, out.numpy(), errors.numpy(), (0,) * s
            team.run(greedily, *panel)
            if high < width:
                left[:, :, high:] -= errors @ upper[:, low:high, high:]
    return out


def descent(
    tree: MotifTree, pull: torch.Tensor, indices: torch.Tensor, moments: torch.Tensor, weight: torch.Tensor
) -> None:
    """Give each block in turn its cheapest motif with all others held fixed.

    Args:
        tree: The codebook.
        pull: (groups, rows, columns), the mosaic's error times the moments; changed.
        indices: (groups, rows, blocks) int32, the mosaic; changed.
        moments: (groups, columns, columns) positive definite.
        weight: (groups, rows).
    """
    from momos_compress.calibration.kernels.loops import descending

    groups, rows, width = pull.shape
    s = tree.book.shape[1]
    own_blocks = _own_blocks(moments, s)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(own_blocks)).contiguous()
    metrics = metrics_of(own_blocks).numpy()
    held = [tensor.contiguous().numpy() for tensor in (pull, weight, moments, inverse)]
    with Team(groups * rows, tree) as team:
        for low, high in panels(width, s):
            changes = torch.zeros(groups, rows, high - low)
            panel = (low // s, high // s), tree, *held, metrics, indices.numpy(), changes.numpy(), (0,) * s
            team.run(descending, *panel)
            if high < width:
                bring_up(pull[:, :, high:], changes, moments[:, low:high, high:])


def bring_up(pull: torch.Tensor, changes: torch.Tensor, moments: torch.Tensor) -> None:
    """Add what changed in a panel to the columns after it."""
    if len(pull) > 1:
        pull += changes @ moments
        return
    rows = changes[0].any(dim=1).nonzero()[:, 0]
    if len(rows):
        pull[0].index_add_(0, rows, changes[0, rows] @ moments[0])


def _own_blocks(matrix: torch.Tensor, s: int) -> torch.Tensor:
    """The blocks on the diagonal: (groups, blocks, s, s) of (groups, columns, columns)."""
    groups, width, _ = matrix.shape
    tiles = matrix.reshape(groups, width // s, s, width // s, s)
    return tiles.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)


def panels(width: int, s: int) -> list[tuple[int, int]]:
    """First columns of the panels, and those after their last."""
    step = max(1, PANEL // s) * s
    return [(low, min(low + step, width)) for low in range(0, width, step)]
