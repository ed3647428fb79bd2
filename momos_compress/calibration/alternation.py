"""The fit to what layers compute: mosaic and codebook improved in turn, neither raising the objective.

The first mosaic is greedy with feedback of errors; then blocks take turns in coordinate descent, and the motifs are
solved for. The rate is that of entropy-constrained vector quantisation (Chou, Lookabaugh, Gray 1989).
"""

import dataclasses
from collections.abc import Callable

import torch

from momos_compress.calibration.codebook_solver import solved_codebook
from momos_compress.calibration.descent import descend
from momos_compress.calibration.greedy import assign_greedily
from momos_compress.calibration.kernels.available import compiled
from momos_compress.calibration.level_fit import improve_all
from momos_compress.calibration.objective import price_of_a_bit, row_costs
from momos_compress.calibration.search import MotifSearch, neighbours_of
from momos_compress.calibration.state import FitState, LayerState


def first_pass(state: FitState, progress: Callable[[int], None]) -> None:
    """Give each layer its first mosaic, and set the price of a bit from the distortion that is left.

    Args:
        state: Changed in place.
        progress: Told the blocks done since the last call.
    """
    search = _search(state)
    for layer in state.layers:
        found = _first_mosaic(state, layer, search) if layer.correlated else _independent(state, layer, search)
        layer.indices = found
        progress(layer.indices.numel())
    state.price = price_of_a_bit(state)
    state.rate = state.rate.counted(state.usage())


def improve(state: FitState, progress: Callable[[int], None], *, codebook: bool = True) -> None:
    """One pass: the motifs for this mosaic, then the mosaic for these motifs.

    Args:
        state: Changed in place.
        progress: Told the blocks done since the last call.
        codebook: Whether the motifs may change.
    """
    if state.levels is not None:
        improve_all(state, progress, codebook=codebook)
        return
    if codebook:
        drop_unused(state)
        state.codebook = solved_codebook(state)
    # Lists of near motifs take longer to make than the compiled search over all, which ends as low from a greedy start;
    # from independent motifs it ends some percent higher than over lists.
    near = None if compiled(state.codebook) else neighbours_of(state.codebook)
    search = dataclasses.replace(_search(state), neighbours=near)
    for layer in state.layers:
        if layer.correlated:
            targets, moments = state.targets[layer.name].to(state.device), state.moments[layer.name].to(state.device)
            layer.indices = descend(targets, layer.indices, moments, search, state.bit_weight(layer))
        else:
            layer.indices = _independent(state, layer, search)
        progress(layer.indices.numel())
    state.rate = state.rate.counted(state.usage())


def drop_unused(state: FitState) -> None:
    """Take motifs that no block has out of the codebook, but for a zero motif; the rest is numbered anew."""
    used = state.usage() > 0
    if state.zero_motif:
        used[0] = True
    if bool(used.all()):
        return
    new = torch.cumsum(used, 0).int() - 1
    state.codebook = state.codebook[used.to(state.device)]
    for layer in state.layers:
        layer.indices = new[layer.indices.long()]
    state.rate = state.rate.counted(state.usage())


def _search(state: FitState) -> MotifSearch:
    return MotifSearch(state.codebook, state.rate.bits.to(state.device))


def _independent(state: FitState, layer: LayerState, search: MotifSearch) -> torch.Tensor:
    """The cheapest motif of each block as if inputs were uncorrelated: (groups, rows, blocks) int32."""
    return search.independent(state.targets[layer.name].to(state.device), state.bit_weight(layer))


def _first_mosaic(state: FitState, layer: LayerState, search: MotifSearch) -> torch.Tensor:
    """Of each row the better of two mosaics: with feedback of errors, and each block by itself.

    Feedback asks for values beyond all motifs where inputs depend on each other strongly, and then makes it worse.
    """
    targets, moments = state.targets[layer.name].to(state.device), state.moments[layer.name].to(state.device)
    greedy = assign_greedily(targets, moments, search, state.bit_weight(layer))
    alone = _independent(state, layer, search)
    costs = [row_costs(state, dataclasses.replace(layer, indices=indices)).cpu() for indices in (greedy, alone)]
    better: torch.Tensor = (costs[0] <= costs[1])[:, :, None]
    return torch.where(better, greedy, alone)
