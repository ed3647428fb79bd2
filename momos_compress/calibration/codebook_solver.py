"""The motifs of least output error for a mosaic that is held fixed: preconditioned conjugate gradients.

J is quadratic in the motifs, so its minimum is the solution of a linear system; the preconditioner inverts the part of
the system that belongs to each motif alone.
"""

import torch

from momos_compress.calibration.kernels.sums import add_blocks, add_squares
from momos_compress.calibration.pieces import row_pieces
from momos_compress.calibration.state import FitState, LayerState

CONJUGATE_STEPS = 8
"""Steps of conjugate gradients a call."""


def solved_codebook(state: FitState, every: int = 1) -> torch.Tensor:
    """The codebook (k, s) after ``CONJUGATE_STEPS`` steps downhill on J from the state's own.

    It is the state's own where the steps lead to values that are not finite. A zero motif stays zero.

    Args:
        state: Layers with their mosaics.
        every: Of so many rows one is looked at.
    """
    book = state.codebook
    free = torch.ones(len(book), 1, device=state.device)
    if state.zero_motif:
        free[0] = 0
    inverse = preconditioner(state, every)
    residual = descent_direction(state, book, targets=True, every=every) * free
    step = torch.einsum("kst,kt->ks", inverse, residual)
    direction, square = step.clone(), float((residual * step).sum())
    for _ in range(CONJUGATE_STEPS):
        if square <= 0:
            break
        bent = -descent_direction(state, direction, targets=False, every=every) * free
        curvature = float((direction * bent).sum())
        if curvature <= 0:
            break
        book = book + square / curvature * direction
        residual = residual - square / curvature * bent
        step = torch.einsum("kst,kt->ks", inverse, residual)
        square, before = float((residual * step).sum()), square
        direction = step + square / before * direction
    return book if bool(torch.isfinite(book).all()) else state.codebook


def descent_direction(state: FitState, book: torch.Tensor, *, targets: bool, every: int = 1) -> torch.Tensor:
    """Minus half the gradient of J in the motifs.

    Args:
        state: Layers with their mosaics.
        book: (k, s), the motifs at which the gradient is taken.
        targets: Whether the layers' targets count; without them only what is linear in the motifs is left.
        every: Of so many rows one is looked at.

    Returns:
        (k, s).
    """
    out = torch.zeros_like(book)
    for layer in state.layers:
        moments = state.moments[layer.name].to(state.device) if layer.correlated else None
        weights = layer.weights.to(state.device)
        aims = state.targets[layer.name] if targets else None
        for part in row_pieces(layer.shape, every):
            error = -layer.decoded(book, part)
            if aims is not None:
                error += aims[:, part].to(state.device)
            pull = error if moments is None else error @ moments
            add_blocks(out, layer.indices[:, part].to(state.device, torch.int32), pull, weights[:, part])
    return out


def preconditioner(state: FitState, every: int = 1) -> torch.Tensor:
    """Inverses of the blocks of J's second derivative that belong to one motif each: (k, s, s)."""
    k, s = state.codebook.shape
    out = torch.zeros(k, s * s, device=state.device)
    for layer in state.layers:
        _add_own_curvature(out, state, layer, s, every)
    out = out.reshape(k, s, s)
    size = out.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-30)
    out += 1e-4 * size[:, None, None] * torch.eye(s, device=state.device)
    # A motif that nothing uses has no equation: it stays.
    inverse: torch.Tensor = torch.linalg.inv(out / size[:, None, None])
    return inverse / size[:, None, None]


def _add_own_curvature(out: torch.Tensor, state: FitState, layer: LayerState, s: int, every: int) -> None:
    """Add to ``out`` (k, s s) what a layer's blocks add to the second derivative of the motif that each has."""
    weights = layer.weights.to(state.device)
    width = layer.shape[2]
    moments = state.moments[layer.name].to(state.device) if layer.correlated else None
    mass = torch.zeros(len(out), device=state.device)
    for part in row_pieces(layer.shape, every):
        indices = layer.indices[:, part].to(state.device, torch.int32)
        if moments is None:
            mass.index_add_(0, indices.reshape(-1), weights[:, part, None].expand(-1, -1, width // s).reshape(-1))
        else:
            add_squares(out, indices, moments, weights[:, part])
    if moments is None:
        out += mass[:, None] * torch.eye(s, device=state.device).reshape(1, -1)
