"""Second moments made safe to invert."""

import torch

DAMPING = 0.01
"""Share of a layer's mean second moment added to each: what calibration did not show is not free of cost."""
MAX_DAMPING = 1.0
"""Share at which damping stops to grow."""


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
