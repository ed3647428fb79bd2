"""Rounding to levels against brute force in double precision, compiled and in torch."""

import numpy as np
import pytest
import torch
from fit_states import positive

from momos_compress.calibration.damping import damped
from momos_compress.calibration.greedy import feedback
from momos_compress.calibration.kernels import available
from momos_compress.calibration.kernels.available import numba_loads
from momos_compress.calibration.level_model import Rounding, level_model
from momos_compress.calibration.levels import PRICE, improve_levels, round_alone, round_greedily

pytestmark = pytest.mark.usefixtures("one_thread")

MOST = 12
SHAPES = [(1, 24, 70), (5, 3, 9), (1, 6, 300)]


def problem(shape: tuple[int, int, int], price: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Rounding]:
    """Targets whose rows differ in size, moments of correlated inputs, and levels with values a little off."""
    torch.manual_seed(seed)
    groups, rows, width = shape
    targets = torch.randn(shape) * torch.logspace(-0.7, 0.5, rows)[:, None]
    moments, _ = damped(positive(groups, width), 1)
    model = level_model([("layer", targets.round().clamp(-MOST, MOST))], MOST)
    values = torch.arange(-MOST, MOST + 1) + 0.1 * torch.rand(2 * MOST + 1)
    values[MOST] = 0
    weights = torch.rand(groups, rows) + 0.5
    return targets, moments.contiguous(), model.rounding("layer", values, price / weights)


@pytest.fixture(params=["numba", "torch"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "torch":
        monkeypatch.setattr(available, "numba_loads", lambda: False)
    elif not numba_loads():
        pytest.skip("numba is not installed")
    return str(request.param)


def cost(targets: torch.Tensor, levels: torch.Tensor, moments: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """Error and price of bits of each row, in double precision: (groups, rows)."""
    error = targets.double() - rounding.values.double()[levels.long()]
    bits = rounding.bits.double()[rounding.of_values(), levels.long()]
    return ((error @ moments.double()) * error).sum(dim=2) + rounding.price.double() * bits.sum(dim=2)


@pytest.mark.parametrize("price", [0.0, PRICE, 1.0])
def test_a_value_alone_takes_the_cheapest_of_all_levels(price: float, engine: str) -> None:
    """The few that are looked at are enough."""
    targets, _, rounding = problem((2, 7, 40), price)
    found = round_alone(targets, rounding)
    bits = rounding.bits[rounding.of_values()].double()
    every = (targets[..., None].double() - rounding.values.double()).square()
    every = every + rounding.price[:, :, None, None].double() * bits
    least = every.min(dim=3).values
    ours = every.gather(3, found[..., None].long())[..., 0]
    # A level two steps nearer to zero is not looked at; that it would be cheapest is rare and saves next to nothing.
    assert float((ours - least).sum()) <= 2e-3 * float(least.sum())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("price", [0.0, PRICE])
def test_greedy_rounding_follows_its_definition(shape: tuple[int, int, int], price: float, engine: str) -> None:
    targets, moments, rounding = problem(shape, price)
    order = torch.randperm(shape[2], generator=torch.Generator().manual_seed(1))
    found = round_greedily(targets, moments, order, rounding)

    upper = feedback(moments[:, order][:, :, order]).double().numpy()
    values, bits = rounding.values.double().numpy(), rounding.bits.double().numpy()
    kinds, prices = rounding.of_values().numpy(), rounding.price.double().numpy()
    worse, best = 0.0, 0.0
    for g in range(shape[0]):
        for row in range(shape[1]):
            left = targets[g, row, order].double().numpy()
            for place, column in enumerate(order.tolist()):
                own = upper[g, place, place]
                costs = (left[place] - values) ** 2 / own**2 + prices[g, row] * bits[kinds[g, row, column]]
                mine = int(found[g, row, column])
                worse, best = worse + costs[mine], best + costs.min()
                # From here on as the code went, so that one near tie does not make all that follows differ.
                left[place + 1 :] -= (left[place] - values[mine]) / own * upper[g, place, place + 1 :]
    assert best <= worse <= best * (1 + 2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_feedback_beats_rounding_alone(shape: tuple[int, int, int], engine: str) -> None:
    targets, moments, rounding = problem(shape, 0.0)
    greedy = round_greedily(targets, moments, torch.arange(shape[2]), rounding)
    alone = round_alone(targets, rounding)
    assert float(cost(targets, greedy, moments, rounding).sum()) < 0.9 * float(
        cost(targets, alone, moments, rounding).sum()
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("price", [0.0, PRICE, 1.0])
def test_a_pass_never_raises_a_rows_cost(shape: tuple[int, int, int], price: float, engine: str) -> None:
    targets, moments, rounding = problem(shape, price)
    before = round_alone(targets, rounding)
    after = improve_levels(targets, before, moments, rounding)
    first, second = (cost(targets, levels, moments, rounding) for levels in (before, after))
    assert bool((second <= first * (1 + 1e-4)).all())
    assert float(second.sum()) < 0.99 * float(first.sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_compiled_and_torch_agree(shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    if not numba_loads():
        pytest.skip("numba is not installed")
    targets, moments, rounding = problem(shape, PRICE, seed=3)
    order = torch.arange(shape[2])

    def both() -> list[torch.Tensor]:
        greedy = round_greedily(targets, moments, order, rounding)
        start = round_alone(targets, rounding)
        return [greedy, improve_levels(targets, start, moments, rounding)]

    compiled = both()
    monkeypatch.setattr(available, "numba_loads", lambda: False)
    for ours, theirs in zip(compiled, both(), strict=True):
        same = (ours == theirs).float().mean()
        # One sum rounded the other way changes what follows it in its row.
        assert float(same) > 0.95
        costs = [float(cost(targets, levels, moments, rounding).sum()) for levels in (ours, theirs)]
        assert costs[0] == pytest.approx(costs[1], rel=5e-3)


def test_levels_beyond_the_last_are_cut_off(engine: str) -> None:
    targets, moments, rounding = problem((1, 2, 4), 0.0)
    targets[0, 0] = torch.tensor([1e6, -1e6, 0.0, 3.0])
    found = round_alone(targets, rounding)
    assert found[0, 0].tolist() == [2 * MOST, 0, MOST, MOST + 3]
    assert np.isfinite(float(improve_levels(targets, found, moments, rounding).sum()))
