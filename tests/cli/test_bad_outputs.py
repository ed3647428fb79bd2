"""Outputs that cannot be written: what was there before stays as it was."""

import errno
import json
import os
from pathlib import Path

import mistakes
import pytest
import torch
from safetensors.torch import save_file

from momos_zoo import weights_path

Mistake, compressed, mistake, spoilt, work = (
    mistakes.Mistake,
    mistakes.compressed,
    mistakes.mistake,
    mistakes.spoilt,
    mistakes.work,
)


@pytest.mark.parametrize("command", ["w.safetensors", "export c.safetensors"])
def test_outputs_that_cannot_be(mistake: Mistake, compressed: Path, command: str) -> None:
    Path("c.safetensors").write_bytes(compressed.read_bytes())
    Path("d").mkdir()
    words = command.split()
    assert "'nowhere' does not exist" in mistake(*words, "-o", "nowhere/x.safetensors")
    assert "w.safetensors" in mistake(*words, "-o", "w.safetensors/x.safetensors")
    assert "'d' is a directory" in mistake(*words, "-o", "d")
    assert "is a directory" in mistake(*words, "-o", ".")
    source = words[-1]
    assert "is the input" in mistake(*words, "-o", source)
    assert "is the input" in mistake(*words, "-o", f"d/../{source}")
    Path("symbolic").symlink_to(source)
    os.link(source, "hard")
    assert "is the input" in mistake(*words, "-o", "symbolic")
    assert "is the input" in mistake(*words, "-o", "hard")


def test_no_shard_and_no_index_is_overwritten(mistake: Mistake) -> None:
    index = "model.safetensors.index.json"
    Path(index).write_text(json.dumps({"weight_map": {"layer.weight": "w.safetensors"}}))
    for output in ("w.safetensors", index):
        assert "is the input" in mistake(index, "-o", output)


def test_the_checkpoint_is_not_overwritten(mistake: Mistake) -> None:
    Path("demo.safetensors").write_bytes(weights_path().read_bytes())
    message = mistake("digits_resnet8", "--checkpoint", "demo.safetensors", "-o", "demo.safetensors")
    assert "is the input" in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("command", ["w.safetensors", "export c.safetensors"])
def test_an_output_that_is_no_regular_file_is_left_alone(mistake: Mistake, compressed: Path, command: str) -> None:
    # A pipe stands for every special file: nobody wants /dev/null to become a checkpoint.
    Path("c.safetensors").write_bytes(compressed.read_bytes())
    os.mkfifo("pipe")
    assert "pipe" in mistake(*command.split(), "-o", "pipe")


@pytest.mark.parametrize("command", ["w.safetensors", "export c.safetensors"])
@pytest.mark.parametrize("directory", ["/proc", "/sys", "locked"])
def test_an_output_directory_that_cannot_be_written(
    mistake: Mistake, compressed: Path, directory: str, command: str
) -> None:
    Path("c.safetensors").write_bytes(compressed.read_bytes())
    if directory == "locked":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        Path("locked").mkdir(mode=0o555)
    elif not Path(directory).is_dir():
        pytest.skip(f"no {directory} here")
    assert directory in mistake(*command.split(), "-o", f"{directory}/x.safetensors")


@pytest.mark.parametrize("command", ["w.safetensors", "export c.safetensors"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_is_full_at_the_end(
    mistake: Mistake, compressed: Path, monkeypatch: pytest.MonkeyPatch, call: str, command: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Path("c.safetensors").write_bytes(compressed.read_bytes())
    Path("out.safetensors").write_bytes(b"precious")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    message = mistake(*command.split(), "-o", "out.safetensors")
    assert "out.safetensors" in message
    assert "No space left on device; nothing was changed" in message


def test_an_existing_output_survives_every_failure(mistake: Mistake) -> None:
    Path("w.momos.safetensors").write_bytes(b"precious")
    Path("bad.momos.safetensors").write_bytes(b"precious")
    save_file({"a": torch.ones(4, 4), "b": spoilt(float("nan"))}, "bad.safetensors")
    mistake("bad.safetensors")
    mistake("bad.safetensors", "-o", "w.momos.safetensors")
    mistake("w.safetensors", "--data", "digits")
    mistake("w.safetensors", "--s", "65")
    # Known only when the file is read back.
    torch.save({"w": torch.ones(8, 8).to(torch.float8_e4m3fnuz)}, "bad.pth")
    mistake("bad.pth", "-o", "w.momos.safetensors")
