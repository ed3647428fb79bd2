"""The fit of levels: steps by water-filling that spend the bits asked for, then greedy rounding and descent."""

import math
from collections.abc import Callable, Iterator

import torch

from momos_compress.calibration.codebook_solver import solved_codebook
from momos_compress.calibration.level_model import LevelModel, Rounding, level_model
from momos_compress.calibration.levels import PRICE, improve_levels, round_alone, round_greedily
from momos_compress.calibration.search import Rate
from momos_compress.calibration.state import FitState, LayerState, LevelState, normalised
from momos_compress.calibration.waterfilling import RowsAndColumns, steps_of
from momos_compress.common.stages import give_memory_back
from momos_compress.mosaic.scales import encode_scales, scale_values
from momos_compress.planning.plan import LEVELS

MOST = LEVELS // 2
"""The largest level; rows that would go beyond take wider steps."""
SCALE_MARGIN = 0.9
"""Share of the largest level that a row may reach before its scale is rounded to a code, which may make it less."""
SOLVED = 16
"""The largest level whose value may differ from its number; those beyond are rare."""
SOLVED_VALUES = 2**22
"""Values of weights by which the levels' values are found, about: they are few, and many weights have each."""
FREEDOM = 0.3
"""By how much it may differ."""
REFIT_PASSES = 2
"""Passes over a layer's levels that follow their rounding anew."""
TRIALS = 2
"""How often the common factor of all steps is set anew after the first levels have shown what they take."""

Read = Callable[[str], torch.Tensor]
"""Gives the weight of a name."""


def first_levels(state: FitState, read: Read, bits: float, progress: Callable[[int], None]) -> None:
    """Choose the steps that spend so many bits, and give each layer its first levels.

    Args:
        state: Its layers are normalised by their rows' root mean squares; changed in place.
        read: Reads weights.
        bits: What all levels together may take.
        progress: Told the values done since the last call.
    """
    steps = {}
    for layer in state.layers:
        steps[layer.name] = steps_of(layer, state.moments[layer.name] if layer.correlated else None)
        columns = steps[layer.name].columns
        if columns is not None:
            layer.columns = encode_scales(columns)
            state.moments[layer.name] = layer.scaled(state.moments[layer.name])
        importance = layer.weights / scale_values(layer.scales).reshape(layer.weights.shape).square()
        layer.weights = importance  # of an error of the weight itself, until rows have their steps
    importances = {layer.name: layer.weights for layer in state.layers}
    values = sum(math.prod(layer.shape) for layer in state.layers)
    octave = _first_octave(state, steps, read, bits / max(values, 1))
    for trial in range(TRIALS + 1):
        for layer in state.layers:
            _take_steps(state, layer, steps[layer.name].rows * 2.0**octave, importances[layer.name], read)
        whole = ((layer.name, state.targets[layer.name].round()) for layer in state.layers)
        state.levels = LevelState(level_model(whole, MOST), {name: each.order for name, each in steps.items()})
        state.codebook = torch.arange(-MOST, MOST + 1, dtype=torch.float32, device=state.device)[:, None]
        state.price = state.rate_weight * PRICE * 4.0**octave
        for layer in state.layers:
            layer.indices = _first(state, layer)
            if trial == TRIALS:
                progress(layer.indices.numel())
        state.levels.model = _counted(state)
        give_memory_back()
        if trial < TRIALS:
            octave += (total_bits(state) - bits) / values
    state.rate = Rate.uniform(len(state.codebook), 0.0).counted(state.usage())


def improve_all(state: FitState, progress: Callable[[int], None], *, codebook: bool = True) -> None:
    """One pass: the values of levels for this mosaic, then the mosaic for these values.

    Args:
        state: Changed in place.
        progress: Told the values done since the last call.
        codebook: Whether the levels' values may change.
    """
    if codebook:
        state.codebook = _near_whole(solved_codebook(state, max(1, state.blocks // SOLVED_VALUES)))
    for layer in state.layers:
        targets, rounding = state.targets[layer.name].to(state.device), rounding_of(state, layer)
        if layer.correlated:
            moments = state.moments[layer.name].to(state.device)
            layer.indices = improve_levels(targets, layer.indices, moments, rounding)
        else:
            layer.indices = round_alone(targets, rounding)
        progress(layer.indices.numel())
    assert state.levels is not None
    state.levels.model = _counted(state)
    state.rate = state.rate.counted(state.usage())


def refit(state: FitState, layer: LayerState) -> None:
    """Give a correlated layer levels anew, for its targets as they are now."""
    layer.indices = _first(state, layer)
    targets, moments = state.targets[layer.name].to(state.device), state.moments[layer.name].to(state.device)
    for _ in range(REFIT_PASSES):
        layer.indices = improve_levels(targets, layer.indices, moments, rounding_of(state, layer))


def rounding_of(state: FitState, layer: LayerState) -> Rounding:
    """How the values of a layer are rounded now."""
    assert state.levels is not None
    return state.levels.model.rounding(layer.name, state.codebook[:, 0].cpu(), state.price / layer.weights)


def total_bits(state: FitState) -> float:
    """Bits of all levels under the model."""
    return sum(map(state.bits_of, state.layers))


def _first(state: FitState, layer: LayerState) -> torch.Tensor:
    targets, rounding = state.targets[layer.name].to(state.device), rounding_of(state, layer)
    if not layer.correlated:
        return round_alone(targets, rounding)
    assert state.levels is not None
    moments = state.moments[layer.name].to(state.device)
    return round_greedily(targets, moments, state.levels.orders[layer.name], rounding)


def _counted(state: FitState) -> LevelModel:
    """The model of the mosaic as it is."""

    def signed() -> Iterator[tuple[str, torch.Tensor]]:
        for layer in state.layers:
            yield layer.name, layer.indices - MOST

    return level_model(signed(), MOST)


def _take_steps(state: FitState, layer: LayerState, rows: torch.Tensor, importance: torch.Tensor, read: Read) -> None:
    """Normalise a layer by steps of its rows (groups, rows), wider where a level would be too large."""
    weight, groups = read(layer.name), len(rows)
    unit = torch.full_like(layer.scales, encode_scales(torch.ones(1)).item())
    largest = torch.linalg.vector_norm(
        normalised(weight, layer.layout, unit, groups, 1, layer.columns), torch.inf, dim=2
    )
    layer.scales = encode_scales(torch.maximum(rows, largest / (MOST * SCALE_MARGIN)).reshape(-1))
    state.targets[layer.name] = normalised(weight, layer.layout, layer.scales, groups, 1, layer.columns)
    layer.weights = importance * scale_values(layer.scales).reshape(importance.shape).square()


def _first_octave(state: FitState, steps: dict[str, RowsAndColumns], read: Read, bits: float) -> float:
    """Binary logarithm of the factor on all steps at which values take so many bits in the mean, about.

    A Gaussian value of many steps takes log2(steps) + 2.05 bits; one of few takes less than that, and never less
    than 0. What this is off by the trials mend.
    """
    logs = []
    for layer in state.layers:
        matrix = normalised(read(layer.name), layer.layout, layer.scales, len(layer.weights), 1, layer.columns)
        norms = torch.linalg.vector_norm(matrix, dim=2) / matrix.shape[2] ** 0.5
        size = norms * scale_values(layer.scales).reshape(layer.weights.shape)
        count = torch.full(size.shape, float(matrix.shape[2]))
        logs.append(torch.stack([(size / steps[layer.name].rows).clamp(min=1e-12).log2(), count]).reshape(2, -1))
    sizes, counts = torch.cat(logs, dim=1).double()
    low, high = -40.0, 40.0
    for _ in range(40):
        middle = (low + high) / 2
        taken = torch.nn.functional.softplus((sizes - middle + 2.05) * 2) / 2
        if float((taken * counts).sum() / counts.sum()) > bits:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _near_whole(codebook: torch.Tensor) -> torch.Tensor:
    """Values of levels (levels, 1), each no further from its number than ``FREEDOM``, and zero at zero."""
    whole = torch.arange(-MOST, MOST + 1, dtype=torch.float32, device=codebook.device)[:, None]
    near = torch.minimum(torch.maximum(codebook, whole - FREEDOM), whole + FREEDOM)
    free = (whole.abs() <= SOLVED) & (whole != 0)
    return torch.where(free, near, whole)
