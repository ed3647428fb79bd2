"""What a fit's passes take on this machine, from short trials on random layers."""

from collections.abc import Sequence
from functools import partial

import torch

from momos_compress.calibration.alternation import improve
from momos_compress.calibration.codebook_solver import solved_codebook
from momos_compress.calibration.correction import corrected
from momos_compress.calibration.level_model import level_model
from momos_compress.calibration.levels import PRICE, improve_levels
from momos_compress.calibration.search import Rate
from momos_compress.calibration.state import FitState, LayerState
from momos_compress.calibration.store import MatrixStore
from momos_compress.calibration.trial import least_seconds
from momos_compress.mosaic.blocks import row_layout

TRIAL_SHAPES = 4
"""Layers of different shapes, those with most blocks, in whose shape random weights are fitted."""
LEVEL_WIDTHS = (128, 1024)
"""Columns of two random layers whose passes tell what a value takes, and what its share of a product takes."""
TRIAL_LEVELS = 127
"""The largest level in them."""
SOLVED_SHAPES = ((512, 128), (1024, 128), (512, 1024))
"""Rows and columns of random layers for which motifs are solved: what is the same for all, what a block takes, and what
its share of a product takes."""
CORRECTED_SHAPE = (512, 1024)
"""Rows and columns of the random layer whose targets are corrected."""
LEVEL_ROWS = 512
"""Rows of these layers."""
TRIAL_BLOCKS = 16
"""Blocks of a row in that trial: a pass goes along a row block by block, and each takes the same time."""


def pass_seconds(shapes: Sequence[tuple[int, int, int]], *, k: int, s: int, device: str, seed: int) -> float:
    """Seconds of one pass over a mosaic with motifs as they are, from passes over random layers like the largest.

    Args:
        shapes: Groups, rows of a group and columns of each layer.
        k: Motifs.
        s: Values of a block.
        device: Where the fit runs.
        seed: Of what is random.
    """

    def blocks(shape: tuple[int, int, int]) -> int:
        groups, rows, columns = shape
        return groups * rows * -(-columns // s)

    chosen = sorted(set(shapes), key=blocks, reverse=True)[:TRIAL_SHAPES]
    short = [(groups, rows, min(TRIAL_BLOCKS, -(-columns // s))) for groups, rows, columns in chosen]
    state = _random_state(short, k, s, device, seed)

    def run_pass() -> None:
        improve(state, lambda done: None, codebook=False)

    run_pass()  # loops may be compiled at their first call
    taken = least_seconds(run_pass)
    return taken / state.blocks * sum(map(blocks, shapes))


def solution_seconds(shapes: Sequence[tuple[int, int, int]], *, k: int, s: int, device: str, seed: int) -> float:
    """Seconds of one solution for the motifs, from those of random layers.

    Args:
        shapes: Groups, rows of a group and columns of each layer.
        k: Motifs.
        s: Values of a block.
        device: Where the fit runs.
        seed: Of what is random.
    """
    taken = []
    for rows, width in SOLVED_SHAPES:
        state = _random_state([(1, rows, width // s)], k, s, device, seed)
        taken.append(least_seconds(partial(solved_codebook, state)))
    (few, width), (more, _), (_, wide) = SOLVED_SHAPES
    for_value = max(0.0, (taken[1] - taken[0]) / ((more - few) * width))  # at this width
    slope = max(0.0, (taken[2] - taken[0]) / (few * (wide - width)) - for_value) / wide
    base = max(0.0, for_value - slope * width)
    values = sum(groups * rows * columns * (base + slope * columns) for groups, rows, columns in shapes)
    return max(0.0, taken[0] - for_value * few * width) + values


def correction_seconds(shapes: Sequence[tuple[int, int, int]], *, device: str, seed: int) -> float:
    """Seconds that new targets take, from those of one random layer.

    Args:
        shapes: Groups, rows of a group and columns of each layer.
        device: Where the fit runs.
        seed: Of what is random.
    """

    def products(groups: int, rows: int, columns: int) -> float:
        return groups * (columns**3 / 3 + 5 * rows * columns**2)

    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(1, *CORRECTED_SHAPE, generator=generator).to(device)
    moments = torch.eye(CORRECTED_SHAPE[1], device=device)[None]
    taken = least_seconds(lambda: corrected(targets, moments, [moments, moments], 1.0))
    return taken / products(1, *CORRECTED_SHAPE) * sum(products(*shape) for shape in shapes)


def level_seconds(shapes: Sequence[tuple[int, int, int]], *, device: str, seed: int) -> float:
    """Seconds of one pass over a mosaic of levels, from passes over two random layers.

    Args:
        shapes: Groups, rows of a group and columns of each layer.
        device: Where the fit runs.
        seed: Of what is random.
    """
    taken = [_level_pass(width, device, seed) / (LEVEL_ROWS * width) for width in LEVEL_WIDTHS]
    slope = max(0.0, (taken[1] - taken[0]) / (LEVEL_WIDTHS[1] - LEVEL_WIDTHS[0]))
    base = max(0.0, taken[0] - slope * LEVEL_WIDTHS[0])
    return sum(groups * rows * columns * (base + slope * columns) for groups, rows, columns in shapes)


def _random_state(shapes: Sequence[tuple[int, int, int]], k: int, s: int, device: str, seed: int) -> FitState:
    """Random layers of so many groups, rows and blocks of a row."""
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(k, s, generator=generator).to(device)
    targets, moments = MatrixStore(), MatrixStore()
    layers = []
    for number, (groups, rows, count) in enumerate(shapes):
        moments[str(number)] = torch.eye(count * s).repeat(groups, 1, 1)
        targets[str(number)] = torch.randn(groups, rows, count * s, generator=generator)
        layers.append(
            LayerState(
                name=str(number),
                layout=row_layout((groups * rows, count * s)),
                scales=torch.zeros(groups * rows, dtype=torch.uint8),
                shape=(groups, rows, count * s),
                weights=torch.ones(groups, rows),
                correlated=True,
                indices=torch.randint(k, (groups, rows, count), generator=generator, dtype=torch.int32),
            )
        )
    rate = Rate.uniform(k, 8.0 * s)
    return FitState(
        layers,
        targets,
        moments,
        codebook.to(device),
        rate,
        rate_weight=1.0,
        zero_motif=False,
        device=device,
        price=0.01,
    )


def _level_pass(width: int, device: str, seed: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    targets = 4 * torch.randn(1, LEVEL_ROWS, width, generator=generator)
    levels = targets.round().clamp(-TRIAL_LEVELS, TRIAL_LEVELS)
    model = level_model([("layer", levels)], TRIAL_LEVELS)
    values = torch.arange(-TRIAL_LEVELS, TRIAL_LEVELS + 1).float()
    rounding = model.rounding("layer", values, torch.full((1, LEVEL_ROWS), PRICE))
    moments = torch.eye(width, device=device)[None]
    first = (levels + TRIAL_LEVELS).int()

    def run_pass() -> None:
        improve_levels(targets.to(device), first, moments, rounding)

    run_pass()  # loops may be compiled at their first call
    return least_seconds(run_pass)
