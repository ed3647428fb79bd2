"""Data that a network cannot be evaluated on."""

import sys
from pathlib import Path

import mistakes
import pytest

from momos_cli import app as cli

Mistake, compressed, images, mistake, work = (
    mistakes.Mistake,
    mistakes.compressed,
    mistakes.images,
    mistakes.mistake,
    mistakes.work,
)


def test_evaluate_needs_data(mistake: Mistake, compressed: Path) -> None:
    assert "--data" in mistake("evaluate", compressed)
    assert "digits" in mistake("evaluate", compressed, "--data", "nowhere")
    assert "--batch-size" in mistake("evaluate", compressed, "--data", "digits", "--batch-size", "0")
    Path("empty").mkdir()
    assert "empty" in mistake("evaluate", compressed, "--data", "empty")
    Path("classes", "a").mkdir(parents=True)
    assert "classes" in mistake("evaluate", compressed, "--data", "classes")
    Path("classes", "a", "notes.txt").write_text("no image")
    assert "classes" in mistake("evaluate", compressed, "--data", "classes")
    assert "w.safetensors" in mistake("evaluate", compressed, "--data", "w.safetensors")
    Path("bad.tar").write_bytes(b"\0" * 100)
    assert "bad.tar" in mistake("evaluate", compressed, "--data", "bad.tar")


def test_evaluate_needs_no_more_classes_than_outputs(mistake: Mistake, compressed: Path, images: Path) -> None:
    for number in range(9):
        (images / f"class{number}").mkdir()
        (images / f"class{number}" / "x.png").write_bytes((images / "a" / "0.png").read_bytes())
    assert "11 classes" in mistake("evaluate", compressed, "--data", "images")
    assert "11 classes" in mistake("digits", "--data", "images")


@pytest.mark.parametrize("others", [False, True], ids=["alone", "among others"])
@pytest.mark.parametrize("damage", ["text", "empty", "truncated"])
def test_evaluate_does_not_skip_an_image_that_cannot_be_read(
    mistake: Mistake, images: Path, damage: str, others: bool
) -> None:
    sound = (images / "a" / "0.png").read_bytes()
    if not others:
        for path in images.rglob("*.png"):
            path.unlink()
    broken = {"text": b"no image at all\n", "empty": b"", "truncated": sound[: len(sound) // 2]}[damage]
    (images / "a" / "broken.jpg").write_bytes(broken)
    assert "images" in mistake("evaluate", "momos_mlp", "--no-pretrained", "--data", "images")


def test_a_network_of_one_channel_takes_an_image_folder(
    compressed: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["momos-compress", "evaluate", str(compressed), "--data", str(images)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert "of 4 images" in capsys.readouterr().out


def test_a_network_that_is_no_classifier_of_timm(mistake: Mistake) -> None:
    assert "--arch" in mistake("evaluate", "w.safetensors", "--data", "digits")
    assert "--arch" in mistake("w.safetensors", "--data", "digits")
