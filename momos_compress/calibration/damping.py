"""Second moments made safe to invert."""

import torch

DAMPING = 0.01
"""Share of a layer's mean second moment added to each: what calibration did not show is not free of cost."""
POWER_STEPS = 16
"""Steps of the power iteration for the strongest direction; the mean's is far above all others."""
MAX_DAMPING = 1.0
"""Share at which damping stops to grow."""


def shrunk(moments: torch.Tensor, vectors: float) -> torch.Tensor:
    """Moments drawn towards their diagonal by as much as so few vectors are likely to be off.

    The oracle approximating shrinkage of Chen, Wiesel, Eldar and Hero (2010), whose target is a multiple of the
    identity; here half of the target is the diagonal, since inputs of a layer differ in size.

    The strongest direction, which as a rule is that of the inputs' mean, is known from few vectors and stays as it is:
    beside it all others would look alike.

    Args:
        moments: (groups, c, c), means of so many vectors' products.
        vectors: Independent vectors that they are worth.

    Returns:
        (groups, c, c).
    """
    strongest = _strongest(moments)
    moments = moments - strongest
    width = moments.shape[1]
    diagonal = moments.diagonal(dim1=1, dim2=2)
    mean = diagonal.mean(dim=1)
    squares, trace = moments.square().sum(dim=(1, 2)), diagonal.sum(dim=1).square()
    over = (vectors + 1 - 2 / width) * (squares - trace / width)
    share = (((1 - 2 / width) * squares + trace) / over.clamp(min=1e-30)).clamp(max=1)[:, None]
    out = moments * (1 - share[:, :, None])
    out.diagonal(dim1=1, dim2=2).add_(share * (diagonal + mean[:, None]) / 2)
    return out + strongest


def _strongest(moments: torch.Tensor) -> torch.Tensor:
    """The part of moments (groups, c, c) along the direction in which they are largest, by power iteration."""
    direction = moments.diagonal(dim1=1, dim2=2)[:, :, None].clamp(min=1e-30)
    for _ in range(POWER_STEPS):
        direction = moments @ direction
        direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-30)
    size = direction.transpose(1, 2) @ moments @ direction
    return size * direction * direction.transpose(1, 2)


def looked_up(moments: torch.Tensor) -> torch.Tensor:
    """Moments (groups, c, c) of a layer whose weight is a table as well: read row by row, errors cost alike everywhere.

    Both uses count the same.
    """
    mean = moments.diagonal(dim1=1, dim2=2).mean(dim=1)
    return moments + mean[:, None, None] * torch.eye(moments.shape[1], device=moments.device)


def damped(moments: torch.Tensor, s: int) -> tuple[torch.Tensor, float]:
    """Second moments, made positive definite and padded to whole blocks.

    Padding costs next to nothing: any value may stand there.

    Args:
        moments: (groups, c, c).
        s: Values of a block.

    Returns:
        The damped moments, (groups, padded, padded), and the share of their mean that was added.
    """
    groups, width, _ = moments.shape
    mean = moments.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    padded = torch.zeros(groups, width + -width % s, width + -width % s, dtype=moments.dtype, device=moments.device)
    damping = DAMPING
    while True:
        padded.zero_()
        padded[:, :width, :width] = moments
        diagonal = padded.diagonal(dim1=1, dim2=2)
        diagonal[:, :width] += damping * mean[:, None]
        diagonal[:, width:] = 1e-4 * mean[:, None]
        _, info = torch.linalg.cholesky_ex(padded)
        if not bool(info.any()) or damping >= MAX_DAMPING:
            return padded, damping
        damping *= 10
