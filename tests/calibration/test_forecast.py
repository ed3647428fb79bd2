"""What a calibrated fit is expected to take and what it did, on a small network whose pace is made up."""

from pathlib import Path

import pytest
import timm
from calibrated_runs import network_checkpoint, run, save_pictures

from momos_compress.calibration import decide as decide_module
from momos_compress.calibration.trial import Pace
from momos_compress.compression.expected import expect
from momos_compress.container.reader import MomosFile
from momos_compress.planning.plan import plan
from momos_compress.settings import Settings

SLOW = Pace(forward=1.0, gradient=3.0, fit_pass=1.0)
QUICK = Pace(forward=1e-6, gradient=1e-6, fit_pass=1e-6)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.chdir(tmp_path)


def network() -> timm.models.EfficientNet:
    return timm.create_model("test_efficientnet", num_classes=4)


def test_a_run_does_what_was_expected_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide_module, "pace_of", lambda job, facts: QUICK)
    checkpoint, calibrate = network_checkpoint(network()), save_pictures()
    settings = Settings(calibrate=calibrate, samples=6, k=8, device="cpu")
    expected = expect(checkpoint, plan(checkpoint, settings))
    assert expected.steps == "moments=6,gradients=6,passes=14,rounds=4,compared=6,again=4,tuned=6,epochs=8"
    given = "passes=2,rounds=1,epochs=1"
    report = run(checkpoint, calibrate=calibrate, samples=6, k=8, steps=given)
    steps = "moments=6,gradients=6,passes=2,rounds=1,compared=6,again=4,tuned=6,epochs=1"
    assert report.steps == steps
    assert MomosFile(report.output).recipe.extra["steps"] == steps
    assert not [warning for warning in report.warnings if "time_limit" in warning]


def test_a_limit_that_is_too_short_does_the_least_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide_module, "pace_of", lambda job, facts: SLOW)
    checkpoint, calibrate = network_checkpoint(network()), save_pictures()
    report = run(checkpoint, calibrate=calibrate, samples=6, k=8, time_limit=0.001)
    assert report.steps == "moments=6,gradients=6,passes=1,rounds=0,compared=6,again=0,tuned=6,epochs=0"
    (warning,) = [warning for warning in report.warnings if "time_limit" in warning]
    assert warning.startswith("`time_limit` 0.00 s is shorter than the least that this network takes: it had 6 samples")


def test_weights_alone_have_no_steps() -> None:
    checkpoint = network_checkpoint(network())
    settings = Settings(calibrate="none", k=8, device="cpu")
    expected = expect(checkpoint, plan(checkpoint, settings))
    assert expected.steps is None
    assert expected.cost.seconds > 0
    assert run(checkpoint, calibrate="none", k=8).steps is None
