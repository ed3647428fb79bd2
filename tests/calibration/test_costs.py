"""What an error costs, and what follows from it: repaired means, the first motifs, weights that stay as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from test_calibrated import check_measured, network_checkpoint, run, save_pictures
from test_fit import distortion_of, fitter, silent
from test_repair import weights_of
from torch import nn

from momos_compress import MomosFile, load_model
from momos_compress.calibration import run as run_module
from momos_compress.calibration.fit import LayerFit, normalised
from momos_compress.calibration.importance import drawn_blocks, weigh
from momos_compress.calibration.repair import repairable
from momos_compress.calibration.run import DOMINANT
from momos_compress.calibration.statistics import CENTRED, collect_moments, collect_shift
from momos_compress.calibration.tuning import varied
from momos_compress.mosaic.scales import encode_scales, scale_values


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Means


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


def test_moments_are_taken_about_the_mean_where_it_is_repaired() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    layers, inputs = weights_of(model), torch.randn(50, 6) + 3
    batches = [inputs[:20], inputs[20:]]
    found = collect_moments(model, layers, batches, 50, device="cpu", seed=0, centred={"0.weight"}).moments
    values = inputs.double().numpy()
    mean = values.mean(axis=0)
    expected = values.T @ values / 50 - CENTRED * np.outer(mean, mean)
    np.testing.assert_allclose(found["0.weight"][0].numpy(), expected, rtol=1e-4, atol=1e-5)
    hidden = torch.relu(model[0](inputs)).detach().double().numpy()
    np.testing.assert_allclose(found["2.weight"][0].numpy(), hidden.T @ hidden / 50, rtol=1e-4, atol=1e-5)


def test_the_shift_is_taken_about_both_means() -> None:
    model, other = (nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)) for _ in range(2))
    layers, inputs = weights_of(model), torch.randn(50, 6) + 1
    moments, shifts = collect_shift(
        model, other, layers, [inputs[:20], inputs[20:]], 50, device="cpu", seed=0, centred={"2.weight"}
    )
    before, here = (torch.relu(net[0](inputs)).detach().double().numpy() for net in (model, other))
    for name, found, left in (("moments", moments, here), ("shifts", shifts, before - here)):
        expected = left.T @ here / 50 - CENTRED * np.outer(left.mean(axis=0), here.mean(axis=0))
        np.testing.assert_allclose(found["2.weight"][0].numpy(), expected, rtol=1e-4, atol=1e-5, err_msg=name)


# Importance


def test_importance_counts_the_mean_that_moments_are_taken_about() -> None:
    """The same output gradients, on inputs with a large mean: squared gradients hold it, repaired or not."""
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 8))
    layers, inputs = weights_of(model), torch.randn(64, 6) + 5
    found = []
    for centred in ((), {"0.weight"}):
        statistics = collect_moments(model, layers, [inputs], 64, device="cpu", seed=0, centred=centred)
        statistics.gradients = {name: torch.arange(1.0, rows + 1) for name, rows in (("0.weight", 4), ("2.weight", 8))}
        fits = []
        for layer in layers:
            weight = model.state_dict()[layer.parameter]
            scales = encode_scales(weight.square().mean(dim=1).sqrt())
            targets = normalised(weight, layer.layout, scales, 1, 2)
            unknown = torch.ones(targets.shape[:2])
            fits.append(LayerFit(layer.parameter, layer.layout, scales, targets, unknown, True))
        weigh(fits, layers, statistics)
        found.append(fits)
        first = fits[0].weights / scale_values(fits[0].scales).square()
        assert torch.allclose(first / first[:, :1], torch.arange(1.0, 5)[None])
    for whole, centred in zip(*found, strict=True):
        assert torch.allclose(whole.weights, centred.weights)


# Images that vary


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


# Weights that dominate


def test_layers_are_dearer_than_their_bits_where_their_error_is() -> None:
    fit = fitter()
    fit.first_pass(silent)
    whole = {layer.name: 32 * layer.targets.numel() for layer in fit.layers}
    assert fit.dearer_than(whole) == []
    before = distortion_of(fit)
    fit.layers[1].weights *= 1000
    assert distortion_of(fit) > 100 * before
    assert fit.dearer_than(whole) == ["grouped"]
    assert len(fit.dearer_than(dict.fromkeys(whole, 0))) == 2  # never all of them
    blocks = fit.blocks
    fit.leave_out("grouped")
    assert [layer.name for layer in fit.layers] == ["dense", "table"]
    assert int(fit.usage().sum()) == fit.blocks < blocks
    fit.price = 0.0  # bits that cost nothing buy nothing either
    assert fit.dearer_than(dict.fromkeys(whole, 0)) == []


def test_a_weight_that_dominates_stays_as_it_is_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = network_checkpoint(timm.create_model("test_efficientnet", num_classes=5).eval())
    exclude = ("conv_stem*", "*conv_exp*", "*conv_pwl*", "*conv.weight", "*conv_dw*")
    settings = {"calibrate": save_pictures(), "samples": 6, "k": 16, "exclude": exclude}
    measured = run_module.collect_gradients

    def heavy(*args: Any, **options: Any) -> dict[str, torch.Tensor]:
        return {name: 1e6 ** (name == "classifier.weight") * g for name, g in measured(*args, **options).items()}

    monkeypatch.setattr(run_module, "collect_gradients", heavy)
    report = run(checkpoint, **settings)
    file = check_measured(checkpoint, report)
    weight = checkpoint.read("classifier.weight")
    assert report.left_out["classifier.weight"] == DOMINANT
    assert set(report.left_out.values()) > {DOMINANT, "excluded"}
    assert "classifier.weight" not in file.recipe.tensors
    assert "conv_head.weight" in file.recipe.tensors
    assert torch.equal(file.get("classifier.weight"), weight.half().float())
    assert bool(torch.isfinite(load_model("x.momos.safetensors")(torch.randn(1, 3, 32, 32))).all())
    for other in ({"exceptions": False}, {"exclude": (), "include": ("classifier.weight", "conv_head.weight")}):
        report = run(checkpoint, **{**settings, **other})
        assert DOMINANT not in report.left_out.values()
        assert "classifier.weight" in check_measured(checkpoint, report).recipe.tensors


# First motifs


@pytest.mark.parametrize(("blocks", "count"), [(9, 9), (9, 8), (9, 7), (9, 1), (1, 1), (5, 12)])
def test_at_least_as_many_blocks_are_drawn_as_there_are_to_be_motifs(blocks: int, count: int) -> None:
    costs = torch.zeros(blocks)
    costs[blocks // 2] = 1.0
    drawn = drawn_blocks(costs, count, seed=0)
    assert len(drawn) >= min(count, blocks)
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < blocks
    assert int((drawn == blocks // 2).sum()) >= len(drawn) // 2
    if count >= blocks:
        assert set(drawn.tolist()) == set(range(blocks))
    assert torch.equal(drawn, drawn_blocks(costs, count, seed=0))


def test_a_motif_for_almost_every_block() -> None:
    checkpoint = network_checkpoint(timm.create_model("test_vit", num_classes=5).eval())
    settings = {"calibrate": save_pictures(), "samples": 4, "include": ("head.weight",), "rate_weight": 0.0}
    for c in (0.99, 1.0):
        report = run(checkpoint, c=c, exceptions=False, **settings)
        check_measured(checkpoint, report)
        assert report.relative_distortion < 0.05


def test_the_large_weights_of_a_strong_input_are_not_missed() -> None:
    """A few weights far beyond all motifs, at inputs that matter most: a draw of all alike would seldom see them."""
    model = timm.create_model("test_vit", num_classes=5).eval()
    with torch.no_grad():
        model.head.weight.normal_()
        model.head.weight[:, 0] = 40.0
        model.norm.bias[0] = 30.0
    checkpoint = network_checkpoint(model)
    run(checkpoint, calibrate=save_pictures(), samples=8, k=64, rate_weight=1.0, exceptions=False)
    found = MomosFile("x.momos.safetensors").get("head.weight")[:, 0]
    assert float((found / checkpoint.read("head.weight")[:, 0] - 1).abs().max()) < 0.2
