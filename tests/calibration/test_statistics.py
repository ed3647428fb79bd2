from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint
from torch import nn
from torch.nn import functional

from momos_compress import MomosError
from momos_compress.calibration import statistics as statistics_module
from momos_compress.calibration.statistics import (
    MatrixStore,
    Statistics,
    collect_gradients,
    collect_moments,
    collect_shift,
)
from momos_compress.data.batches import Inputs
from momos_compress.networks.costs import products_of
from momos_compress.networks.layers import LayerWeight, find_layers

pytestmark = pytest.mark.usefixtures("one_thread")


def weights_of(model: nn.Module) -> list[LayerWeight]:
    """The layers of all tensors of two and more dimensions."""
    infos = memory_checkpoint(model.state_dict()).tensors.infos
    return find_layers(model, [info for info in infos if len(info.shape) > 1])


def moments_of(model: nn.Module, batches: Sequence[Inputs], **options: Any) -> Statistics:
    samples = sum(len(next(iter(b.values())) if isinstance(b, dict) else b) for b in batches)
    return collect_moments(model.eval(), weights_of(model), batches, samples, device="cpu", **{"seed": 0, **options})


def gradients_of(model: nn.Module, batches: Sequence[Inputs], seed: int = 0) -> dict[str, torch.Tensor]:
    return collect_gradients(model.eval(), weights_of(model), batches, device="cpu", seed=seed)


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-4) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=rtol, atol=rtol * float(expected.abs().max()))


def outer(rows: torch.Tensor) -> torch.Tensor:
    """The sum of x x^T over rows (m, columns), in double precision."""
    return rows.double().T @ rows.double()


class Texts(nn.Module):
    """A language model, as far as calibration can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)
        self.inner = nn.Linear(6, 6)
        self.out = nn.Linear(6, 20, bias=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.inner(self.table(input_ids)))
        out: torch.Tensor = self.out(hidden)
        return out


def texts() -> list[Inputs]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    ids = torch.randint(0, 20, (3, 5), generator=generator)
    return [{"input_ids": ids[:2], "attention_mask": mask[:2]}, {"input_ids": ids[2:], "attention_mask": mask[2:]}]


# Second moments


def test_moments_of_linear_layers_are_exact() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    inputs = torch.randn(11, 5)
    found = moments_of(model, [inputs[:4], inputs[4:]])
    hidden = model[1](model[0](inputs)).detach()
    close(found.moments["0.weight"], outer(inputs)[None] / 11)
    close(found.moments["2.weight"], outer(hidden)[None] / 11)
    assert (found.samples, found.silent, found.products) == (11, (), 5 * 7 + 7 * 3)


def test_moments_of_each_group_of_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(6, 4, 3, groups=2, padding=1, stride=2))
    inputs = torch.randn(5, 6, 7, 9)
    found = moments_of(model, [inputs[:2], inputs[2:]])
    patches = functional.unfold(inputs, 3, padding=1, stride=2).reshape(5, 2, 27, 20)
    expected = torch.stack([outer(patches[:, g].transpose(1, 2).reshape(-1, 27)) for g in range(2)]) / 5
    close(found.moments["0.weight"], expected)
    assert found.products == 4 * 27 * 20


def test_moments_of_a_convolution_along_one_dimension_count_no_place_that_is_not_there() -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1))
    inputs = torch.randn(3, 4, 8)
    found = moments_of(model, [inputs])
    patches = functional.unfold(inputs[:, :, None], (1, 3), padding=(0, 1)).transpose(1, 2).reshape(-1, 12)
    close(found.moments["0.weight"], outer(patches)[None] / 3)
    assert found.products == 6 * 12 * 8


def test_tokens_that_only_fill_the_batch_do_not_count() -> None:
    model = Texts()
    batches = texts()
    found = moments_of(model, batches)
    real = torch.cat([b["input_ids"][b["attention_mask"].bool()] for b in batches if isinstance(b, dict)])
    assert len(real) == 11
    close(found.moments["inner.weight"], outer(model.table(real).detach())[None] / 3)
    assert "table.weight" not in found.moments
    assert found.silent == ()
    assert found.products == 11 * (36 + 120) // 3


def test_a_mask_is_not_taken_for_the_channels_of_a_convolution() -> None:
    class Channels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv1d(5, 4, 1)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.convolution(input_ids)  # as many channels as there are tokens
            return out

    inputs, mask = torch.randn(2, 5, 5), torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    found = moments_of(Channels(), [{"input_ids": inputs, "attention_mask": mask}])
    close(found.moments["convolution.weight"], outer(inputs.transpose(1, 2).reshape(-1, 5))[None] / 2)


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 3), lambda: nn.Conv2d(4, 4, 3, groups=2, padding=1)])
def test_moments_from_a_sample_of_places_are_right_in_the_mean(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(make())
    linear = isinstance(model[0], nn.Linear)
    inputs = torch.randn((2, 60, 4) if linear else (2, 4, 8, 9))
    exact = moments_of(model, [inputs]).moments["0.weight"]
    monkeypatch.setattr(statistics_module, "layer_vectors", partial(statistics_module.layer_vectors, least=8))
    monkeypatch.setattr(statistics_module, "VECTORS_PER_COLUMN", 1)
    draws = torch.stack([moments_of(model, [inputs], seed=seed).moments["0.weight"] for seed in range(200)])
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert float(error.max()) > 0  # something was sampled
    assert bool(((draws.mean(dim=0) - exact).abs() <= 5 * error + 1e-5).all())
    again = moments_of(model, [inputs], seed=3).moments["0.weight"]
    assert torch.equal(again, draws[3])


def test_a_module_that_runs_twice_has_the_moments_of_both_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.shared(torch.relu(self.shared(x)))
            return out

    model, inputs = Twice(), torch.randn(6, 4)
    hidden = torch.relu(model.shared(inputs)).detach()
    close(moments_of(model, [inputs]).moments["shared.weight"], (outer(inputs) + outer(hidden))[None] / 6)


def test_layers_that_never_run_are_named() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)
            self.attention = nn.MultiheadAttention(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.attention(*[self.used(x)] * 3)[0]
            return out

    found = moments_of(Partly(), [torch.randn(3, 5, 4)])
    assert found.silent == ("spare.weight", "attention.out_proj.weight")
    assert "attention.in_proj_weight" not in found.moments
    assert "used.weight" in found.moments


def test_inputs_that_are_not_finite_are_told_by_the_layer() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].weight.data.fill_(3e38)
    with pytest.raises(MomosError, match=r"^1\.weight: .* not finite .*--calibrate none$"):
        moments_of(model, [torch.ones(2, 3)])


def test_products_of_one_sample() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6 * 4, 5))
    assert products_of(model, torch.zeros(1, 4, 4, 4)) == 6 * 18 * 4 + 24 * 5


# Moments of two networks


def test_the_shift_between_two_networks() -> None:
    model, other = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    inputs = torch.randn(7, 4)
    moments, shifts = collect_shift(model, other, weights_of(model), [inputs[:3], inputs[3:]], 7, device="cpu", seed=0)
    before, after = model[0](inputs).detach().double(), other[0](inputs).detach().double()
    close(moments["1.weight"], (after.T @ after)[None] / 7)
    close(shifts["1.weight"], ((before - after).T @ after)[None] / 7)
    assert not shifts["0.weight"].any()


def test_the_shift_of_a_module_that_runs_twice_pairs_its_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.shared(self.shared(self.first(x)))
            return out

    model, other, inputs = Twice(), Twice(), torch.randn(5, 4)
    moments, shifts = collect_shift(model, other, weights_of(model), [inputs], 5, device="cpu", seed=0)
    first = [net.first(inputs).detach().double() for net in (model, other)]
    second = [net.shared(net.first(inputs)).detach().double() for net in (model, other)]
    close(moments["shared.weight"], (outer(first[1]) + outer(second[1]))[None] / 5)
    expected = sum((before - after).T @ after for before, after in (first, second)) / 5
    assert isinstance(expected, torch.Tensor)
    close(shifts["shared.weight"], expected[None])


def test_the_shift_takes_the_same_places_in_both_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_module, "PAIRED_VECTORS", 8)
    monkeypatch.setattr(statistics_module, "VECTORS_PER_COLUMN", 1)
    model = nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 2, 1))
    images = nn.Sequential(nn.Conv2d(4, 3, 1), nn.Conv2d(3, 2, 3))
    for net, inputs in ((model, torch.randn(40, 4)), (images, torch.randn(3, 4, 9, 9))):
        _, shifts = collect_shift(net, net, weights_of(net), [inputs], len(inputs), device="cpu", seed=0)
        assert all(not shifts[layer.parameter].any() for layer in weights_of(net))


# Gradients


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


# The network is left as it was


class Failing(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = super().forward(x)
        if len(x) == 1:
            raise ValueError("one is\ntoo few")
        return out


def state_of(model: nn.Module) -> list[object]:
    return [
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [parameter.tolist() for parameter in (*model.parameters(), *model.buffers())],
        [module.training for module in model.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    model = Failing(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Dropout(0.0)).eval()
    model[0].weight.requires_grad_(False)
    model[3].train()
    before = state_of(model)
    batches = [torch.randn(4, 4), torch.randn(1 if fails else 3, 4)]
    layers = weights_of(model)
    for collect in (
        lambda: collect_moments(model, layers, batches, 5, device="cpu", seed=0),
        lambda: collect_gradients(model, layers, batches, device="cpu", seed=0),
        lambda: collect_shift(model, model, layers, batches, 5, device="cpu", seed=0),
    ):
        if fails:
            with pytest.raises(MomosError, match=r"^Failing fails on a calibration batch \(one is too few\); .*none$"):
                collect()
        else:
            collect()
        assert state_of(model) == before


def test_outputs_that_are_no_tensor_are_refused() -> None:
    class Words(nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return "words"

    with pytest.raises(MomosError, match="gives str cannot be calibrated; use --calibrate none"):
        collect_moments(Words(2, 2), [], [torch.ones(1, 2)], 1, device="cpu", seed=0)


# The store


def test_a_store_gives_back_what_it_was_given(tmp_path: Any) -> None:
    store = MatrixStore(tmp_path)
    first, second = torch.randn(2, 3, 3), torch.randn(1, 5, 5, dtype=torch.float64)
    store["a"] = first
    store["b"] = second
    assert ("a" in store, "c" in store) == (True, False)
    assert torch.equal(store["a"], first)
    assert torch.equal(store["b"], second.float())
    store.add("a", first)
    store.add("c", second)
    assert torch.equal(store["a"], 2 * first)
    assert torch.equal(store["c"], second.float())
    store["a"] = torch.ones(2, 4, 4)  # of another size: what lies behind it stays
    assert torch.equal(store["a"], torch.ones(2, 4, 4))
    assert torch.equal(store["b"], second.float())
    store["b"] = torch.full((1, 5, 5), np.nan)
    assert bool(store["b"].isnan().all())
    assert torch.equal(store["c"], second.float())
    with pytest.raises(KeyError):
        store["d"]
    assert list(tmp_path.iterdir()) == []  # the file has no name
