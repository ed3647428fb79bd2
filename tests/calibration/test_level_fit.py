"""Whole fits of levels on the demo: the bits that were asked for, and what they buy."""

from pathlib import Path

import pytest
import torch
from calibrated_runs import check_measured

from momos_compress import MomosFile, Settings, compress, open_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


def fitted(path: Path, **settings: object) -> MomosFile:
    checkpoint = open_checkpoint("digits")
    chosen = {"bdm": False, "device": "cpu", "calibrate": "digits", "samples": 96, "steps": "rounds=1,epochs=0"}
    report = compress(checkpoint, Settings(**{**chosen, **settings}), path, data="digits")  # type: ignore[arg-type]
    assert report.warnings == ()
    assert report.accuracy_before is not None
    assert report.accuracy_after is not None
    assert report.accuracy_after > report.accuracy_before - 2
    return check_measured(checkpoint, report)


def test_the_file_has_the_bits_that_were_asked_for(tmp_path: Path) -> None:
    file = fitted(tmp_path / "a.safetensors", bits=3.0)
    weights = sum(tensor.values for tensor in file.recipe.tensors.values())
    rest = sum(open_checkpoint("digits").read(name).numel() for name in file if name not in file.recipe.tensors)
    bits = 8 * file.path.stat().st_size / (weights + rest)
    assert bits == pytest.approx(3.0, rel=0.08)
    assert file.recipe.s == 1
    assert file.recipe.coding in ("spread", "ans")
    assert {"scales", "layout"} <= set(file.recipe.features)


def test_levels_are_the_default_of_a_calibrated_run_and_motifs_where_they_are_counted(tmp_path: Path) -> None:
    default = fitted(tmp_path / "a.safetensors")
    assert default.recipe.s == 1
    assert default.recipe.extra["bits"] == 3.5
    counted = compress(
        open_checkpoint("digits"),
        Settings(bdm=False, device="cpu", calibrate="digits", samples=64, c=0.05, include=("layer3*conv*",)),
        tmp_path / "b.safetensors",
    )
    assert counted.s == 4


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (fitted(tmp_path / name, bits=2.5).path.read_bytes() for name in ("a", "b"))
    assert first == second


def test_weights_are_whole_numbers_of_steps_of_their_row_and_column(tmp_path: Path) -> None:
    file = fitted(tmp_path / "a.safetensors", bits=3.0)
    codebook = file.codebook[:, 0].float()
    assert float((codebook - codebook.round()).abs().max()) <= 0.3 + 1e-3
    assert 0.0 in codebook.tolist()
    scaled = [name for name, tensor in file.recipe.tensors.items() if tensor.column_scaled]
    assert scaled
    name = scaled[0]
    assert len(torch.unique(file.column_codes(name))) > 1
