"""Squared gradients, against Jacobians by brute force."""

from collections.abc import Sequence

import pytest
import torch
from small_networks import Texts, texts, weights_of
from torch import nn
from torch.nn import functional

from momos_compress.calibration.gradients import collect_gradients
from momos_compress.data.batches import Inputs

pytestmark = pytest.mark.usefixtures("one_thread")


def gradients_of(model: nn.Module, batches: Sequence[Inputs], seed: int = 0) -> dict[str, torch.Tensor]:
    return collect_gradients(model.eval(), weights_of(model), batches, device="cpu", seed=seed)


def squared_jacobian(model: nn.Module, batches: Sequence[Inputs], masked: bool = False) -> dict[str, torch.Tensor]:
    """By brute force: the sum over samples and outputs of squared derivatives of each weight's rows, a sample."""
    names = [layer.parameter for layer in weights_of(model)]
    parameters = [dict(model.named_parameters())[name] for name in names]
    totals, samples = [torch.zeros_like(parameter) for parameter in parameters], 0
    for batch in batches:
        out = model(**batch) if isinstance(batch, dict) else model(batch)
        samples += len(out)
        if masked:
            assert isinstance(batch, dict)
            out = out[batch["attention_mask"].bool()]
        for value in out.reshape(-1):
            gradients = torch.autograd.grad(value, parameters, retain_graph=True)
            totals = [total + gradient.square() for total, gradient in zip(totals, gradients, strict=True)]
    return {name: total.reshape(len(total), -1).sum(dim=1) / samples for name, total in zip(names, totals, strict=True)}


def expect_in_the_mean(model: nn.Module, batches: Sequence[Inputs], masked: bool = False, draws: int = 300) -> None:
    found = [gradients_of(model, batches, seed) for seed in range(draws)]
    for name, exact in squared_jacobian(model, batches, masked).items():
        estimates = torch.stack([one[name] for one in found])
        error = estimates.std(dim=0) / draws**0.5
        assert bool(((estimates.mean(dim=0) - exact).abs() <= 5 * error + 1e-5 * exact.max()).all()), name
        assert float(estimates.mean(dim=0).sum()) == pytest.approx(float(exact.sum()), rel=0.1)


def test_gradients_are_the_squared_jacobian_in_the_mean() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3))
    inputs = torch.randn(5, 2, 3, 3)
    expect_in_the_mean(model, [inputs[:3], inputs[3:]])


def test_gradients_of_tokens_that_only_fill_the_batch_do_not_count() -> None:
    expect_in_the_mean(Texts(), texts(), masked=True)


def test_gradients_of_a_weight_that_keeps_inputs_first_are_by_output() -> None:
    from transformers.pytorch_utils import Conv1D

    model = nn.Sequential(Conv1D(3, 5))
    found = gradients_of(model, [torch.randn(1, 2, 5)])["0.weight"]
    assert found.shape == (3,)


def test_gradients_reach_parameters_that_no_module_owns_and_tied_ones_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(6, 4)
            self.out = nn.Linear(4, 6, bias=False)
            self.out.weight = self.table.weight
            self.own = nn.Parameter(torch.randn(4, 4))

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.out(functional.linear(self.table(input_ids), self.own).sum(dim=1))
            return out

    model = Tied()
    batches: list[Inputs] = [{"input_ids": torch.tensor([[0, 1], [2, 3]])}]
    assert [layer.parameter for layer in weights_of(model)] == ["own", "table.weight"]
    expect_in_the_mean(model, batches)


def test_gradients_of_weights_that_outputs_do_not_depend_on_are_zero() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    model = Fixed()
    found = gradients_of(model, [torch.ones(2, 3)])
    assert {name: value.tolist() for name, value in found.items()} == {"spare.weight": [0, 0, 0]}
    assert collect_gradients(model, [], [torch.ones(2, 3)], device="cpu", seed=0) == {}
