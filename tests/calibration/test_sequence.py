"""Levels fitted in sequence, on a trained network and by hand."""

import pytest
import torch

import momos_zoo  # noqa: F401  the demo
from momos_compress import Settings, compress, open_checkpoint
from momos_compress.calibration import run as run_module
from momos_compress.calibration.products import CENTRED
from momos_compress.calibration.sequence import _halves
from momos_compress.networks.fidelity import Fidelity

pytestmark = pytest.mark.usefixtures("one_thread")


def lost(path: str, rounds: int) -> Fidelity:
    steps = f"gradients=32,rounds={rounds},epochs=0"
    settings = Settings(bits=1.6, samples=192, calibrate="digits", steps=steps, bdm=False, device="cpu")
    report = compress(open_checkpoint("digits"), settings, path)
    assert report.fidelity is not None
    assert report.ratio == pytest.approx(19.5, rel=0.03)
    return report.fidelity


def test_layers_in_sequence_lose_less_than_all_at_once(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    alone = lost("a", 0)
    assert lost("b", 1).error < 0.9 * alone.error
    # Where it loses more on the samples apart, it is undone.
    seen = iter([1.0, 2.0])
    monkeypatch.setattr(run_module, "validation_loss", lambda *given: next(seen))
    assert lost("c", 1).error == pytest.approx(alone.error, rel=1e-3)


@pytest.mark.parametrize("centred", [False, True])
def test_halves_add_up_to_sums_over_places(centred: bool) -> None:
    torch.manual_seed(0)
    left, right = torch.randn(2, 10, 3) + 1, torch.randn(2, 10, 4) - 2
    first, second = _halves(left, right, 50.0, centred=centred)
    assert first.shape == (2, 3, 4)
    for half, part in ((first, slice(0, 5)), (second, slice(5, 10))):
        for g in range(2):
            own = [left[g, part].double(), right[g, part].double()]
            wanted = own[0].T @ own[1] / 5 - CENTRED * centred * own[0].mean(0)[:, None] * own[1].mean(0)
            torch.testing.assert_close(half[g].double(), 25 * wanted, rtol=1e-4, atol=1e-4)
