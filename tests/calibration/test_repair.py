"""What is made good after the fit, and inputs made from batch norms."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from conftest import memory_checkpoint
from timm.layers import BatchNormAct2d
from torch import nn

from momos_compress import MomosError, open_checkpoint
from momos_compress.calibration.repair import batch_norms, channel_moments, repair
from momos_compress.calibration.synthetic import synthetic_images
from momos_compress.calibration.tuning import tune
from momos_compress.data.batches import Inputs
from momos_compress.networks.costs import samples_at_once
from momos_compress.networks.layers import LayerWeight, find_layers
from momos_compress.networks.load import model_of
from momos_compress.networks.outputs import output_loss

pytestmark = pytest.mark.usefixtures("one_thread")


def weights_of(model: nn.Module) -> list[LayerWeight]:
    infos = memory_checkpoint(model.state_dict()).tensors.infos
    return find_layers(model, [info for info in infos if len(info.shape) > 1])


def coarse(model: nn.Module, share: float = 0.3) -> nn.Module:
    """A copy whose weights of two and more dimensions are wrong by this share, larger on the whole."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.ndim > 1:
                parameter *= 1 + share
                parameter += share * parameter.std() * torch.randn_like(parameter)
    return other


def trained(model: nn.Module) -> nn.Module:
    """With running statistics that are not those of the inputs below."""
    for norm in batch_norms(model).values():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return model.eval()


def convolutions(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return trained(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), norm(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8, bias=False), norm(8), nn.ReLU(),
            nn.Conv2d(8, 6, 1), norm(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 5),
        )
    )  # fmt: skip


def outputs_of(model: nn.Module, inputs: Inputs, names: list[str]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda module, args, out, name=name: found.update({name: out}))
        for name in names
    ]
    with torch.no_grad():
        model(**inputs) if isinstance(inputs, dict) else model(inputs)
    for handle in handles:
        handle.remove()
    return found


# Batch norms


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


# Biases


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


def test_how_many_samples_fit_goes_by_the_largest_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    from momos_compress.calibration import repair as repair_module

    monkeypatch.setattr(repair_module, "BATCH_VALUES", 10 * 8 * 6 * 6)
    model = convolutions()
    assert samples_at_once(model, torch.randn(2, 3, 8, 8)) == 10
    monkeypatch.setattr(repair_module, "BATCH_VALUES", 1)
    assert samples_at_once(model, torch.randn(2, 3, 8, 8)) == 1
    # A backward pass wants what every layer gave, not the largest alone.
    outputs = [out.numel() for out in layer_outputs(model, torch.randn(1, 3, 8, 8))]
    assert len(outputs) == len(model)
    monkeypatch.setattr(repair_module, "TRAINED_VALUES", 5 * sum(outputs))
    assert samples_at_once(model, torch.randn(2, 3, 8, 8), trained=True) == 5
    assert samples_at_once(nn.Sequential(model), torch.randn(2, 3, 8, 8), trained=True) == 5


def layer_outputs(model: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    return [x := layer(x) for layer in model]


# Tuning


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


def test_tuning_is_undone_where_it_does_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    from momos_compress.calibration import tuning as tuning_module

    model = convolutions()
    for rate in (1e3, float("inf")):
        monkeypatch.setattr(tuning_module, "LEARNING_RATE", rate)
        other, batches = coarse(model, 0.01), batches_of(2)
        before = copy.deepcopy(other.state_dict())
        assert tune(model, other, small(model), batches, epochs=1, seed=0, device="cpu") == []
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


def test_losses_are_relative_and_of_tokens_that_are_there() -> None:
    scores, target = torch.randn(5, 4), torch.randn(5, 4)
    p, q = target.softmax(dim=1), scores.softmax(dim=1)
    assert float(output_loss(scores, target, None)) == pytest.approx(float((p * (p / q).log()).sum(dim=1).mean()))
    hidden, wanted, mask = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.tensor([[1, 1, 0], [1, 0, 0]])
    real = mask.bool()
    expected = (hidden - wanted)[real].square().sum() / wanted[real].square().sum()
    torch.testing.assert_close(output_loss(hidden, wanted, mask), expected)
    hidden[~real] = 1e6
    torch.testing.assert_close(output_loss(hidden, wanted, mask), expected)
    one = torch.tensor([[2.0], [1.0]]), torch.tensor([[1.0], [1.0]])
    assert float(output_loss(*one, None)) == 0.5


# Synthetic inputs


def mismatch(model: nn.Module, images: torch.Tensor) -> float:
    """How far what enters batch norms is from their statistics."""
    total = 0.0
    handles = []

    def see(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        nonlocal total
        mean, variance = channel_moments(args[0])
        assert isinstance(module.running_mean, torch.Tensor)
        assert isinstance(module.running_var, torch.Tensor)
        total += float(((mean - module.running_mean).square() / module.running_var).mean())
        total += float(((variance / module.running_var).sqrt() - 1).square().mean())

    for norm in batch_norms(model).values():
        handles.append(norm.register_forward_pre_hook(see))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return total


def test_synthetic_images_match_the_statistics_better_than_noise() -> None:
    model = model_of(open_checkpoint("digits"))
    model.conv1.weight.requires_grad_(False)
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    told: list[int] = []

    def make(seed: int) -> torch.Tensor:
        return synthetic_images(
            model, (1, 8, 8), count=24, steps=20, batch=16, seed=seed, device="cpu", progress=told.append
        )

    images = make(0)
    assert images.shape == (24, 1, 8, 8)
    assert not images.requires_grad
    assert sum(told) == 24 * 20
    assert mismatch(model, images) < 0.3 * mismatch(model, torch.randn(24, 1, 8, 8))
    assert torch.equal(images, make(0))
    assert not torch.equal(images, make(1))
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_without_batch_norms_has_no_synthetic_images() -> None:
    with pytest.raises(MomosError, match=r"^--calibrate synthetic needs batch norms, and VisionTransformer has none"):
        synthetic_images(timm.create_model("test_vit"), (3, 8, 8), count=1, steps=1, batch=1, seed=0, device="cpu")
