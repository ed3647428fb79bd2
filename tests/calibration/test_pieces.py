"""What is computed of a layer's rows piece by piece is what it is of all at once."""

import pytest
import torch
from fit_states import positive, small_state

from momos_compress.calibration import pieces as pieces_module
from momos_compress.calibration.alternation import first_pass
from momos_compress.calibration.codebook_solver import descent_direction, preconditioner
from momos_compress.calibration.damping import damped
from momos_compress.calibration.level_model import classes_of, level_model
from momos_compress.calibration.levels import PRICE, improve_levels, round_alone, round_greedily
from momos_compress.calibration.objective import row_costs
from momos_compress.calibration.pieces import row_pieces

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pieces of few rows, once ``undo`` has been called and the whole is known."""
    monkeypatch.setattr(pieces_module, "PIECE_VALUES", 100)
    return monkeypatch


@pytest.mark.parametrize("shape", [(1, 7, 30), (3, 10, 9), (1, 1, 500), (2, 0, 4)])
def test_pieces_hold_each_row_once(shape: tuple[int, int, int], few: pytest.MonkeyPatch) -> None:
    rows = list(range(shape[1]))
    pieces = [rows[part] for part in row_pieces(shape)]
    assert [row for piece in pieces for row in piece] == rows
    assert all(len(piece) == 1 or len(piece) * shape[0] * shape[2] <= 100 for piece in pieces)


def test_some_rows_are_every_so_manieth(few: pytest.MonkeyPatch) -> None:
    rows = list(range(50))
    assert [row for part in row_pieces((1, 50, 30), 4) for row in rows[part]] == rows[::4]


def test_levels(few: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    targets, moments = 3 * torch.randn(2, 40, 12), damped(positive(2, 12), 1)[0]
    model = level_model([("a", targets.round().clamp(-9, 9))], 9)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    rounding = model.rounding("a", torch.arange(-9, 10.0), PRICE / (torch.rand(2, 40) + 0.5))

    def all_of() -> list[torch.Tensor]:
        greedy = round_greedily(targets, moments, order, rounding)
        alone = round_alone(targets, rounding)
        return [greedy, alone, improve_levels(targets, alone, moments, rounding), *classes_of(greedy - 9)]

    in_pieces = all_of()
    few.undo()
    for one, whole in zip(in_pieces, all_of(), strict=True):
        assert float((one != whole).float().mean()) < 0.01  # products of few rows may differ in their last bit


def test_costs_and_motifs(few: pytest.MonkeyPatch) -> None:
    state = small_state()
    first_pass(state, lambda done: None)

    def all_of() -> list[torch.Tensor]:
        direction = descent_direction(state, state.codebook, targets=True)
        return [direction, preconditioner(state), *(row_costs(state, layer) for layer in state.layers)]

    in_pieces = all_of()
    few.undo()
    for one, whole in zip(in_pieces, all_of(), strict=True):
        torch.testing.assert_close(one, whole, rtol=1e-3, atol=1e-4)
