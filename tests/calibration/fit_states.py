"""A small fit, and its objective by brute force."""

import torch

from momos_compress.calibration.damping import damped
from momos_compress.calibration.search import Rate
from momos_compress.calibration.state import FitState, LayerState, normalised
from momos_compress.calibration.store import MatrixStore
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import encode_scales


def positive(groups: int, width: int, rank: int | None = None) -> torch.Tensor:
    """Second moments of correlated inputs, as a layer has them."""
    mixing = torch.randn(groups, width, rank or width) * torch.logspace(0, -1.5, rank or width)
    return mixing @ mixing.transpose(1, 2)


def small_state(
    *,
    k: int = 32,
    s: int = 4,
    rate_weight: float = 1.0,
    motif_bits: float = 36.0,
    zero_motif: bool = True,
    seed: int = 0,
    width: int = 24,
    codebook: torch.Tensor | None = None,
) -> FitState:
    """A correlated layer, a grouped one, and one without moments."""
    torch.manual_seed(seed)
    targets, store, layers = MatrixStore(), MatrixStore(), []
    for name, groups, rows, correlated in (("dense", 1, 48, True), ("grouped", 4, 10, True), ("table", 1, 60, False)):
        weight = torch.randn(groups * rows, width) * torch.rand(groups * rows, 1)
        scales = encode_scales(weight.square().mean(dim=1).sqrt())
        layout = Layout(groups * rows)
        targets[name] = normalised(weight, layout, scales, groups, s)
        shape = (groups, rows, targets[name].shape[2])
        weights = torch.rand(groups, rows) + 0.1
        if correlated:
            store[name], _ = damped(positive(groups, width), s)
        layers.append(LayerState(name, layout, scales, shape, weights, correlated))
    motifs = torch.randn(k, s) if codebook is None else codebook.clone()
    if zero_motif:
        motifs[0] = 0
    rate = Rate.uniform(len(motifs), motif_bits)
    return FitState(layers, targets, store, motifs, rate, rate_weight=rate_weight, zero_motif=zero_motif, device="cpu")


def untold(done: int) -> None:
    pass


def distortion_of(fit: FitState, codebook: torch.Tensor | None = None) -> float:
    """J without its rate, in double precision and row by row."""
    book = (fit.codebook if codebook is None else codebook).double()
    total = 0.0
    for layer in fit.layers:
        (groups, rows, width), targets = layer.shape, fit.targets[layer.name]
        moments = (
            fit.moments[layer.name].double() if layer.correlated else torch.eye(width).double().expand(groups, -1, -1)
        )
        for g in range(groups):
            for row in range(rows):
                error = targets[g, row].double() - book[layer.indices[g, row].long()].reshape(-1)
                total += float(layer.weights[g, row] * (error @ moments[g] @ error))
    return total


def objective(fit: FitState, bits: torch.Tensor) -> float:
    """J with its rate at these bits for each motif."""
    return distortion_of(fit) + fit.price * float((fit.usage().double() * bits.double()).sum())


def entropy_of(fit: FitState) -> float:
    """Bits of the mosaic at the entropy of all its indices."""
    indices = torch.cat([layer.indices.reshape(-1) for layer in fit.layers])
    share = torch.unique(indices, return_counts=True)[1].double() / len(indices)
    return float(-(share * share.log2()).sum()) * len(indices)
