"""What the tests of mistakes on the command line share: exit code 2, one line on standard error, nothing changed."""

import logging
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from momos_cli import app as cli

QUIET_BY_DEFAULT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)

Mistake = Callable[..., str]
"""Runs a command that must fail; returns the message behind "error: "."""


def contents(directory: Path) -> dict[Path, bytes | None]:
    """Every path below with the bytes of a regular file."""
    return {path: path.read_bytes() if path.is_file() else None for path in directory.rglob("*")}


def message_of(stderr: str) -> str:
    """What a single line "error: ..." says."""
    assert re.fullmatch(r"error: .+\n", stderr), stderr
    assert stderr[:-1].isprintable()
    return stderr[:-1].removeprefix("error: ")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory each test runs in, with weights that are sound: w.safetensors."""
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    save_file({"layer.weight": torch.arange(128.0).reshape(16, 8), "layer.bias": torch.ones(16)}, "w.safetensors")
    yield tmp_path
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def mistake(
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Mistake:
    def run(*words: object) -> str:
        before = contents(work)
        monkeypatch.setattr(sys, "argv", ["momos-compress", *map(str, words)])
        with warnings.catch_warnings(record=True) as noise:
            warnings.simplefilter("always")
            with pytest.raises(SystemExit) as stop:
                cli.main()
        captured = capsys.readouterr()
        assert stop.value.code == 2, captured.err
        assert captured.out == ""
        # Outside of pytest these would be lines on standard error, too.
        assert [str(note.message) for note in noise if not issubclass(note.category, QUIET_BY_DEFAULT)] == []
        assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
        assert contents(work) == before
        return message_of(captured.err)

    return run


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, compressed."""
    path = tmp_path_factory.mktemp("compressed") / "digits.momos.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys,
            "argv",
            ["momos-compress", "digits", "--k=16", "--calibrate=none", "-o", str(path), "--no-bdm", "--quiet"],
        )
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code
    return path


@pytest.fixture
def images(work: Path) -> Path:
    """An image folder of two classes with two images in each."""
    for number in range(4):
        path = work / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 60 * number, np.uint8)).save(path)
    return work / "images"


def spoilt(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    weight = torch.ones(4, 4, dtype=dtype)
    weight[2, 1] = value
    return weight


class Payload:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (Path("executed"),)
