"""Second moments of what reaches layers, against sums that are written out."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import Texts, texts, weights_of
from torch import nn
from torch.nn import functional

from momos_compress import MomosError
from momos_compress.calibration import sampling as sampling_module
from momos_compress.calibration.moments import InputMoments, InputShift, collect_moments, collect_shift
from momos_compress.calibration.products import CENTRED
from momos_compress.calibration.sampling import Sampling
from momos_compress.data.batches import Inputs, batch_length

pytestmark = pytest.mark.usefixtures("one_thread")


def moments_of(model: nn.Module, batches: Sequence[Inputs], **options: Any) -> InputMoments:
    samples = sum(map(batch_length, batches))
    sampling = Sampling(batches, samples, device="cpu", **{"seed": 0, **options})
    return collect_moments(model.eval(), weights_of(model), sampling)


def shift_between(model: nn.Module, other: nn.Module, batches: Sequence[Inputs], **options: Any) -> InputShift:
    sampling = Sampling(batches, sum(map(batch_length, batches)), device="cpu", seed=0, **options)
    return collect_shift(model, other, weights_of(model), sampling)


def close(found: torch.Tensor, expected: torch.Tensor, rtol: float = 1e-4) -> None:
    torch.testing.assert_close(found.double(), expected.double(), rtol=rtol, atol=rtol * float(expected.abs().max()))


def outer(rows: torch.Tensor) -> torch.Tensor:
    """The sum of x x^T over rows (m, columns), in double precision."""
    return rows.double().T @ rows.double()


def test_moments_of_linear_layers_are_exact() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    inputs = torch.randn(11, 5)
    found = moments_of(model, [inputs[:4], inputs[4:]])
    hidden = model[1](model[0](inputs)).detach()
    close(found.moments["0.weight"], outer(inputs)[None] / 11)
    close(found.moments["2.weight"], outer(hidden)[None] / 11)
    assert (found.samples, found.silent) == (11, ())


def test_moments_of_each_group_of_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(6, 4, 3, groups=2, padding=1, stride=2))
    inputs = torch.randn(5, 6, 7, 9)
    found = moments_of(model, [inputs[:2], inputs[2:]])
    patches = functional.unfold(inputs, 3, padding=1, stride=2).reshape(5, 2, 27, 20)
    expected = torch.stack([outer(patches[:, g].transpose(1, 2).reshape(-1, 27)) for g in range(2)]) / 5
    close(found.moments["0.weight"], expected)


def test_moments_of_a_convolution_along_one_dimension_count_no_place_that_is_not_there() -> None:
    model = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1))
    inputs = torch.randn(3, 4, 8)
    found = moments_of(model, [inputs])
    patches = functional.unfold(inputs[:, :, None], (1, 3), padding=(0, 1)).transpose(1, 2).reshape(-1, 12)
    close(found.moments["0.weight"], outer(patches)[None] / 3)


def test_tokens_that_only_fill_the_batch_do_not_count() -> None:
    model = Texts()
    batches = texts()
    found = moments_of(model, batches)
    real = torch.cat([b["input_ids"][b["attention_mask"].bool()] for b in batches if isinstance(b, dict)])
    assert len(real) == 11
    close(found.moments["inner.weight"], outer(model.table(real).detach())[None] / 3)
    assert "table.weight" not in found.moments
    assert found.silent == ()


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
    monkeypatch.setattr(sampling_module, "LEAST_PER_COLUMN", 1)
    draws = torch.stack([moments_of(model, [inputs], seed=seed, vectors=8).moments["0.weight"] for seed in range(200)])
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert float(error.max()) > 0  # something was sampled
    assert bool(((draws.mean(dim=0) - exact).abs() <= 5 * error + 1e-5).all())
    again = moments_of(model, [inputs], seed=3, vectors=8).moments["0.weight"]
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
    with pytest.raises(MomosError, match=r"^1\.weight: .* not finite .*`calibrate='none'`$"):
        moments_of(model, [torch.ones(2, 3)])


def test_moments_are_taken_about_the_mean_where_it_is_repaired() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    inputs = torch.randn(50, 6) + 3
    found = moments_of(model, [inputs[:20], inputs[20:]], centred={"0.weight"}).moments
    values = inputs.double().numpy()
    mean = values.mean(axis=0)
    expected = values.T @ values / 50 - CENTRED * np.outer(mean, mean)
    np.testing.assert_allclose(found["0.weight"][0].numpy(), expected, rtol=1e-4, atol=1e-5)
    hidden = torch.relu(model[0](inputs)).detach().double().numpy()
    np.testing.assert_allclose(found["2.weight"][0].numpy(), hidden.T @ hidden / 50, rtol=1e-4, atol=1e-5)


def test_the_shift_between_two_networks() -> None:
    model, other = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3)), nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    inputs = torch.randn(7, 4)
    found = shift_between(model, other, [inputs[:3], inputs[3:]])
    before, after = model[0](inputs).detach().double(), other[0](inputs).detach().double()
    close(found.moments["1.weight"], (after.T @ after)[None] / 7)
    parts = [found.shifts[number]["1.weight"] for number in (0, 1)]  # of every other batch
    close(parts[0], ((before - after)[:3].T @ after[:3])[None] / 7)
    close(parts[1], ((before - after)[3:].T @ after[3:])[None] / 7)
    assert not any(half["0.weight"].any() for half in found.shifts)


def test_the_shift_of_a_module_that_runs_twice_pairs_its_runs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.shared(self.shared(self.first(x)))
            return out

    model, other, inputs = Twice(), Twice(), torch.randn(5, 4)
    found = shift_between(model, other, [inputs])
    first = [net.first(inputs).detach().double() for net in (model, other)]
    second = [net.shared(net.first(inputs)).detach().double() for net in (model, other)]
    close(found.moments["shared.weight"], (outer(first[1]) + outer(second[1]))[None] / 5)
    expected = sum((before - after).T @ after for before, after in (first, second)) / 5
    assert isinstance(expected, torch.Tensor)
    close(found.shifts[0]["shared.weight"], expected[None])


def test_the_shift_takes_the_same_places_in_both_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling_module, "LEAST_PER_COLUMN", 1)
    model = nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 2, 1))
    images = nn.Sequential(nn.Conv2d(4, 3, 1), nn.Conv2d(3, 2, 3))
    for net, inputs in ((model, torch.randn(40, 4)), (images, torch.randn(3, 4, 9, 9))):
        shifts, none = shift_between(net, net, [inputs], vectors=8).shifts
        assert not none.names()  # there is no second batch
        assert all(not shifts[layer.parameter].any() for layer in weights_of(net))


def test_the_shift_is_taken_about_both_means() -> None:
    model, other = (nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)) for _ in range(2))
    inputs = torch.randn(50, 6) + 1
    found = shift_between(model, other, [inputs[:20], inputs[20:]], centred={"2.weight"})
    before, here = (torch.relu(net[0](inputs)).detach().double().numpy() for net in (model, other))
    halves = [slice(0, 20), slice(20, 50)]
    stores = [(found.moments, here, slice(0, 50))]
    stores += [(half, before - here, part) for half, part in zip(found.shifts, halves, strict=True)]
    for store, left, part in stores:
        one, other = left[part], here[part]
        expected = one.T @ other / 50 - CENTRED * len(one) / 50 * np.outer(one.mean(axis=0), other.mean(axis=0))
        np.testing.assert_allclose(store["2.weight"][0].numpy(), expected, rtol=1e-4, atol=1e-5)
