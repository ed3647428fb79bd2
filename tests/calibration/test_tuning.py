"""Training what is stored beside the mosaic."""

import copy

import pytest
import torch
from small_networks import coarse, convolutions
from torch import nn

from momos_compress.calibration.tuning import tune, varied
from momos_compress.data.batches import Inputs
from momos_compress.networks.outputs import output_loss

pytestmark = pytest.mark.usefixtures("one_thread")


def batches_of(count: int = 4) -> list[Inputs]:
    return [torch.randn(8, 3, 8, 8) for _ in range(count)]


def loss_of(model: nn.Module, other: nn.Module, batches: list[Inputs]) -> float:
    with torch.no_grad():
        return sum(float(output_loss(other(x), model(x), None)) for x in batches)


def small(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.ndim < 2]


def test_tuning_lowers_the_loss_and_changes_only_what_it_may() -> None:
    model = convolutions()
    other, batches = coarse(model), batches_of()
    before, start = copy.deepcopy(other.state_dict()), loss_of(model, other, batches)
    kept = [name for name in small(model) if name != "4.weight"]
    changed = tune(model, other, kept, batches, epochs=3, seed=0, device="cpu")
    assert changed == kept
    assert loss_of(model, other, batches) < start
    for name, own in other.state_dict().items():
        assert torch.equal(own, before[name]) is (name not in kept), name
    assert not other.training


def test_tuning_is_undone_where_it_does_not_help() -> None:
    model = convolutions()
    for rate in (1e3, float("inf")):
        other, batches = coarse(model, 0.01), batches_of(2)
        before = copy.deepcopy(other.state_dict())
        assert tune(model, other, small(model), batches, epochs=1, seed=0, device="cpu", learning_rate=rate) == []
        assert all(torch.equal(own, before[name]) for name, own in other.state_dict().items())


def test_tuning_with_nothing_to_tune() -> None:
    model = convolutions()
    other = coarse(model)
    assert tune(model, other, [], batches_of(1), epochs=3, seed=0, device="cpu") == []
    assert tune(model, other, ["1.running_mean", "nowhere"], batches_of(1), epochs=3, seed=0, device="cpu") == []
    assert tune(model, other, small(model), batches_of(1), epochs=0, seed=0, device="cpu") == []


def test_tuning_leaves_out_what_outputs_do_not_depend_on() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.used(x)
            return out

    model = Spare().eval()
    other, batches = coarse(model), [torch.randn(16, 4)]
    assert tune(model, other, ["spare.bias"], batches, epochs=1, seed=0, device="cpu") == []
    assert tune(model, other, ["spare.bias", "used.bias"], batches, epochs=2, seed=0, device="cpu") == ["used.bias"]


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_pieces_of_a_batch_tune_as_the_whole_does(at_once: int) -> None:
    model, batches = convolutions(), batches_of()
    whole = coarse(model)
    pieces = copy.deepcopy(whole)
    tune(model, whole, small(model), batches, epochs=2, seed=0, device="cpu")
    tune(model, pieces, small(model), batches, epochs=2, seed=0, device="cpu", at_once=at_once)
    for name in small(model):
        assert torch.allclose(whole.get_parameter(name), pieces.get_parameter(name), atol=1e-5), name


def test_pieces_of_masked_tokens_weigh_what_they_hold() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 6)
            self.bias = nn.Parameter(torch.randn(6))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.table(input_ids) + self.bias
            return out

    model = Hidden().eval()
    other = coarse(model)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]])
    batch: Inputs = {"input_ids": torch.randint(0, 9, (5, 4)), "attention_mask": mask}
    found = []
    for at_once in (None, 2):
        tuned = copy.deepcopy(other)
        tune(model, tuned, ["bias"], [batch], epochs=4, seed=0, device="cpu", at_once=at_once)
        found.append(tuned.bias.detach())
    assert torch.allclose(*found, atol=1e-6)
    assert not torch.equal(found[0], other.bias)


def test_tuning_is_seeded() -> None:
    model, batches = convolutions(), batches_of()
    other = coarse(model)
    found = []
    for seed in (0, 0, 1):
        tuned = copy.deepcopy(other)
        tune(model, tuned, small(model), batches, epochs=2, seed=seed, device="cpu")
        found.append(tuned[1].weight.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_varied_images_are_shifted_and_mixed() -> None:
    images = torch.arange(3 * 2 * 20 * 20).reshape(3, 2, 20, 20).float()
    generator = torch.Generator().manual_seed(0)
    shifted, mixed = 0, 0
    for _ in range(40):
        found = varied(images, generator)
        assert found.shape == images.shape
        assert float(found.min()) >= 0
        assert float(found.max()) <= float(images.max())
        inner = found[:, :, 4:-4, 4:-4]
        places = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
        moved = [images[:, :, 4 + i : 16 + i, 4 + j : 16 + j] for i, j in places]
        if any(torch.equal(inner, other) for other in moved):
            shifted += 1
        else:
            mixed += 1
    assert min(shifted, mixed) > 8
    tiny = torch.randn(4, 3, 5, 5)  # too small to be shifted
    assert varied(tiny, generator).shape == tiny.shape
    again = [varied(images, torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(*again)


def test_tuning_is_judged_by_the_loss_that_is_given() -> None:
    model, losses = convolutions(), iter([1.0, 2.0, 1.0, 0.5])
    for kept in (False, True):
        other = coarse(model, 0.01)
        changed = tune(
            model, other, small(model), batches_of(2), epochs=1, seed=0, device="cpu", loss=lambda network: next(losses)
        )
        assert bool(changed) == kept
