"""Means and variances that are made good after the fit."""

import copy
from collections.abc import Callable

import pytest
import torch
from small_networks import coarse, convolutions, outputs_of, trained, weights_of
from timm.layers import BatchNormAct2d
from torch import nn

from momos_compress.calibration.channels import batch_norms, channel_moments
from momos_compress.calibration.repair import repair, repairable

pytestmark = pytest.mark.usefixtures("one_thread")


def quiet_norm(channels: int) -> nn.Module:
    return BatchNormAct2d(channels, apply_act=False)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, quiet_norm])
def test_what_batch_norms_give_has_the_originals_mean_and_variance(norm: Callable[[int], nn.Module]) -> None:
    model = convolutions(norm)
    other, inputs = coarse(model), torch.randn(16, 3, 8, 8) + 0.5
    names = list(batch_norms(model))
    assert names == ["1", "4", "7"]
    before, wrong = outputs_of(model, inputs, names), outputs_of(other, inputs, names)
    changed = repair(model, other, weights_of(model), inputs)
    after = outputs_of(other, inputs, names)
    for name in names:
        wanted, found, spoilt = (channel_moments(out[name]) for out in (before, after, wrong))
        # Every norm, and so those that see what earlier ones have made good.
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
        assert not torch.allclose(spoilt[1], wanted[1], rtol=0.05)
    expected = {f"{name}.{own}" for name in names for own in ("running_mean", "running_var")}
    assert set(changed) == expected | {"6.bias", "10.bias"}


def test_norms_with_their_activation_inside_are_repaired_before_it() -> None:
    model = convolutions(BatchNormAct2d)
    other, inputs = coarse(model, 0.1), torch.randn(16, 3, 8, 8)
    repair(model, other, weights_of(model), inputs)
    seen: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}
    for net in (model, other):
        with torch.no_grad():
            entering = net[0](inputs)
            seen[net] = channel_moments(
                nn.functional.batch_norm(
                    entering, net[1].running_mean, net[1].running_var, net[1].weight, net[1].bias, eps=net[1].eps
                )
            )
    torch.testing.assert_close(seen[other], seen[model], rtol=1e-3, atol=1e-4)


def test_a_network_that_is_no_different_stays_as_it_is() -> None:
    model = convolutions()
    other, inputs = copy.deepcopy(model), torch.randn(4, 3, 8, 8)
    repair(model, other, weights_of(model), inputs)
    for own, repaired in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(repaired, own, rtol=1e-5, atol=1e-6)


def test_the_original_is_not_changed_and_no_hook_stays() -> None:
    model = convolutions()
    before = copy.deepcopy(model.state_dict())
    other = coarse(model)
    repair(model, other, weights_of(model), torch.randn(4, 3, 8, 8))
    assert all(torch.equal(before[name], own) for name, own in model.state_dict().items())
    for net in (model, other):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
        assert not net.training


def test_a_channel_that_is_constant_in_both_keeps_its_variance() -> None:
    model = convolutions()
    with torch.no_grad():
        model[0].weight[2] = 0
    other = coarse(model)
    with torch.no_grad():
        other[0].weight[2] = 0
    repair(model, other, weights_of(model), torch.randn(4, 3, 8, 8))
    torch.testing.assert_close(other[1].running_var[2], model[1].running_var[2])


def test_a_channel_that_compression_silences_stays_finite() -> None:
    model = convolutions()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight[2] = 0
    inputs = torch.randn(4, 3, 8, 8)
    repair(model, other, weights_of(model), inputs)
    assert bool(torch.isfinite(other(inputs)).all())
    assert float(other[1].running_var.min()) >= 0


def test_biases_give_outputs_their_means_back() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2), nn.GELU(), nn.Conv2d(6, 4, 2), nn.GELU(), nn.Flatten(), nn.Linear(16, 8),
        nn.Tanh(), nn.Linear(8, 3, bias=False), nn.Linear(3, 3),
    ).eval()  # fmt: skip
    other, inputs = coarse(model), torch.randn(9, 3, 8, 8) + 1
    changed = repair(model, other, weights_of(model), inputs)
    assert changed == ["0.bias", "2.bias", "5.bias", "8.bias"]
    names = ["0", "2", "5", "8"]
    before, after = outputs_of(model, inputs, names), outputs_of(other, inputs, names)
    for name in names:
        torch.testing.assert_close(channel_moments(after[name])[0], channel_moments(before[name])[0], rtol=0, atol=1e-5)


class Texts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner, self.out = nn.Embedding(20, 6), nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(torch.tanh(self.inner(self.table(input_ids))))
        return out


def text_batch() -> dict[str, torch.Tensor]:
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    return {"input_ids": torch.randint(0, 20, (3, 5)), "attention_mask": mask}


def test_means_are_those_of_tokens_that_are_there() -> None:
    model, batch = Texts().eval(), text_batch()
    other = coarse(model)
    assert repair(model, other, weights_of(model), batch) == ["inner.bias", "out.bias"]
    before, after = outputs_of(model, batch, ["out"])["out"], outputs_of(other, batch, ["out"])["out"]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(after[real].mean(dim=0), before[real].mean(dim=0))


def test_gpt2s_layers_have_biases_too() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=6, n_embd=8, n_layer=2, n_head=2)).eval()
    other, batch = coarse(model), {"input_ids": torch.randint(0, 30, (3, 6)), "attention_mask": torch.ones(3, 6)}
    changed = repair(model, other, weights_of(model), batch)
    assert "transformer.h.1.mlp.c_proj.bias" in changed
    name = "transformer.h.1.mlp.c_proj"
    before, after = outputs_of(model, batch, [name])[name], outputs_of(other, batch, [name])[name]
    torch.testing.assert_close(after.mean(dim=(0, 1)), before.mean(dim=(0, 1)), rtol=1e-4, atol=1e-5)


def test_what_runs_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(3):
                x = torch.relu(self.norm(self.shared(x)))
            out: torch.Tensor = self.last(x)
            return out

    model = trained(Twice())
    other = coarse(model)
    assert repair(model, other, weights_of(model), torch.randn(20, 4)) == ["last.bias"]
    assert torch.equal(other.shared.bias, model.shared.bias)


def test_tensors_that_are_to_stay_are_not_touched() -> None:
    model = convolutions()
    other, inputs = coarse(model), torch.randn(4, 3, 8, 8)
    changed = repair(model, other, weights_of(model), inputs, fixed={"4.running_var", "6.bias"})
    assert {name.partition(".")[0] for name in changed} == {"1", "7", "10"}
    for name in ("4.running_var", "4.running_mean", "6.bias"):
        assert torch.equal(other.state_dict()[name], model.state_dict()[name])


def test_layers_that_do_not_run_are_left_alone() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.spare = nn.MultiheadAttention(4, 2), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.attention(x, x, x)[0]
            return out

    model = Partly().eval()
    assert repair(model, coarse(model), weights_of(model), torch.randn(3, 5, 4)) == []


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, bias=False), nn.ReLU(), nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.Linear(5, 5, bias=False),
    ).eval()  # fmt: skip


def test_means_are_repaired_by_a_bias_and_by_a_batch_norm_right_behind() -> None:
    model = network()
    layers, images = weights_of(model), torch.randn(2, 3, 6, 6)
    assert repairable(model, layers, images) == {"0.weight", "6.weight", "9.weight"}
    fixed = {"1.running_var", "9.bias"}
    assert repairable(model, layers, images, fixed=fixed) == {"6.weight"}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
