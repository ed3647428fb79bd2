"""Targets of a layer moved towards what gives the original's outputs out of inputs that compression has changed."""

from collections.abc import Sequence

import torch


def corrected(
    targets: torch.Tensor, moments: torch.Tensor, halves: Sequence[torch.Tensor], length: float
) -> torch.Tensor:
    """Targets moved towards T + T E[(x - x') x'^T] E[x' x'^T]^-1, which gives T x out of x' with least error.

    What the two halves of the samples do not agree on is chance: along each direction the step is as long as lowers the
    error most on samples that it was not taken from, by what each half says of the other's. The directions are what
    each input adds to those of more power (the columns of a Cholesky factor): along them steps do not mix. Principal
    ones take longer and are no better (reports/compress.md).

    Args:
        targets: T, (groups, rows, padded columns).
        moments: E[x' x'^T], damped, (groups, padded columns, padded columns).
        halves: E[(x - x') x'^T] in two parts that add up, each from its half of the samples, (groups, columns,
            columns); one part where there is no other.
        length: Share of the way that is gone.

    Returns:
        (groups, rows, padded columns); padding stays as it is.
    """
    width = halves[0].shape[2]
    inner = moments[:, :width, :width]
    order = inner.diagonal(dim1=1, dim2=2).mean(dim=0).argsort(descending=True)
    lower = torch.linalg.cholesky(inner[:, order][:, :, order])
    pulls = []
    for half in halves:
        pull = (targets[:, :, :width] @ half)[:, :, order]
        pulls.append(torch.linalg.solve_triangular(lower, pull.transpose(1, 2), upper=False))
    step = length * _trust(pulls)[:, None] * torch.stack(pulls).sum(dim=0)
    out = targets.clone()
    out[:, :, order] += torch.linalg.solve_triangular(lower.transpose(1, 2), step, upper=True).transpose(1, 2)
    return out


def _trust(pulls: Sequence[torch.Tensor]) -> torch.Tensor:
    """The length of the sum of both halves' steps at which errors are least, 0 to 1, in each direction: (columns,).

    Args:
        pulls: Of each half, (groups, columns, rows) along the directions; 1 everywhere where there is one half alone.
    """
    if len(pulls) < 2:
        return pulls[0].new_ones(pulls[0].shape[1])
    own = torch.stack([pull.square().sum(dim=(0, 2)) for pull in pulls]).sum(dim=0)
    other = 2 * (pulls[0] * pulls[1]).sum(dim=(0, 2))
    share = (other / own.clamp(min=1e-30)).clamp(0, 1)  # s / (s + n), signal and noise of a half
    return 2 * share / (1 + share)  # s / (s + n / 2), those of both together
