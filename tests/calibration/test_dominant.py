"""Whole runs with weights that matter far more than the others."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from calibrated_runs import check_measured, network_checkpoint, run, save_pictures

from momos_compress import MomosFile, load_model
from momos_compress.calibration import statistics as statistics_module
from momos_compress.calibration.run import DOMINANT


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_weight_that_dominates_stays_as_it_is_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = network_checkpoint(timm.create_model("test_efficientnet", num_classes=5).eval())
    exclude = ("conv_stem*", "*conv_exp*", "*conv_pwl*", "*conv.weight", "*conv_dw*")
    settings = {"calibrate": save_pictures(), "samples": 6, "k": 16, "exclude": exclude}
    measured = statistics_module.collect_gradients

    def heavy(*args: Any, **options: Any) -> dict[str, torch.Tensor]:
        return {name: 1e6 ** (name == "classifier.weight") * g for name, g in measured(*args, **options).items()}

    monkeypatch.setattr(statistics_module, "collect_gradients", heavy)
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
