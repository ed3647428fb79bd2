"""Mistakes on the command line: exit code 2, one line on standard error, nothing written, nothing changed."""

import errno
import json
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from waiting import wait_for

from momos_cli import app as cli
from momos_zoo import weights_path

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


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--c=0", "capacity"),
        ("--c=-1", "capacity"),
        ("--c=2", "capacity"),
        ("--c=nan", "capacity"),
        ("--c=inf", "capacity"),
        ("--c=x", "x.*float"),
        ("--k=0", "at least 1"),
        ("--k=-1", "at least 1"),
        (f"--k={2**24 + 1}", "16,777,217.*2\\^24"),
        ("--k=1.5", "1.5"),
        ("--s=0", "1..64"),
        ("--s=65", "1..64"),
        ("--s=-1", "1..64"),
        ("--s=four", "four"),
        ("--c=0.1 --k=5", "either c or k"),
        ("--seed=-1", "seed"),
        (f"--seed={2**64}", "seed"),
        ("--method=magic", "magic"),
        ("--protocol=rock", "rock"),
        ("--protocol=paper --method=sklearn", "--method sklearn"),
        ("--protocol=paper", "trainable.*--arch"),
        ("--codebook-dtype=float8", "float8"),
        ("--passthrough=drop", "drop"),
        ("--device=tpu", "tpu"),
        ("--include=re:(", "regular expression"),
        ("--include=nothing*", "--include"),
        ("--exclude=*", "excluded"),
        ("--target-ratio=0.5", "above 1"),
        ("--target-ratio=nan", "above 1"),
        ("--target-ratio=inf", "above 1"),
        ("--target-ratio=x", "x.*float"),
        ("--target-size=big", "'big' is no size"),
        ("--target-size=-5MB", "'-5MB' is no size"),
        ("--target-size=0", "at least 1 byte"),
        ("--max-drop=-1", "0..100"),
        ("--max-drop=nan", "0..100"),
        ("--max-drop=100", "0..100"),
        ("--max-drop=1", "needs data.*--calibrate"),
        ("--max-drop=1 --calibrate=none", "needs data"),
        ("--max-drop=1 --calibrate=synthetic", "needs data"),
        ("--max-drop=1 --data=digits --calibrate=digits", "same images.*drop --data"),
        ("--max-drop=1 --data=. --calibrate=x", "same images"),
        ("--max-drop=1 --data=digits", "--arch"),
        ("--target-ratio=4 --c=0.1", "either --c or a target"),
        ("--target-size=4KB --k=16", "either --k or a target"),
        ("--target-size=4KB --max-drop=1", "--target-size and --max-drop"),
        ("--target-ratio=4 --dry-run", "--dry-run"),
        ("--target-ratio=4 --s=65", "1..64"),
        ("--colour", "--colour"),
        ("--capacity=0.1", "--capacity"),
        ("more.safetensors", "more.safetensors"),
        ("--arch=resnet5O", "close names: .*resnet50"),
        ("--arch=digits_resnet8", "--arch"),
        ("--no-pretrained", "weights file"),
        ("--data=nowhere", "nowhere|--arch"),
        ("--checkpoint=nowhere.pth", "nowhere.pth|architecture"),
        ("--output", "--output"),
    ],
)
def test_options(mistake: Mistake, options: str, words: str) -> None:
    assert re.search(words, mistake("w.safetensors", *options.split()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(mistake: Mistake) -> None:
    assert "--device cpu" in mistake("w.safetensors", "--device", "cuda")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", "MODEL"),
        ("inspct", "inspect"),
        ("inspct w.safetensors", "inspect"),
        ("exprot w.safetensors -o x", "export"),
        ("evalute w.safetensors --data x", "evaluate"),
        ("resnet5O", "resnet50"),
        ("resnet50.a1_in2k", "a1_in1k"),
        ("digit", "digits"),
        ("nowhere.safetensors", "no file or directory 'nowhere.safetensors'"),
        ("./nowhere", "no file or directory './nowhere'"),
        ("hf-hub:", "ORG/NAME"),
        ("local-dir:nowhere", "no directory 'nowhere'"),
        ("digits_resnet8", "--no-pretrained"),
        ("resnet18 --checkpoint nowhere.pth", "no file 'nowhere.pth'"),
        ("inspect", "FILE"),
        ("inspect nowhere", "no such file"),
        ("export nowhere", "no such file"),
        ("evaluate nowhere --data digits", "nowhere"),
        ("x" * 300, "x"),
        ("x" * 5000, "x"),
        ("w.safetensors -o " + "x" * 300, "x"),
        ("inspect " + "x" * 5000, "x"),
    ],
)
def test_words(mistake: Mistake, words: str, expected: str) -> None:
    assert expected in mistake(*words.split())


# Weights


def spoilt(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    weight = torch.ones(4, 4, dtype=dtype)
    weight[2, 1] = value
    return weight


@pytest.mark.parametrize(
    ("state", "options", "words"),
    [
        ({"a": torch.ones(4, 4), "b.w": spoilt(float("nan"))}, "", r"b.w \[4, 4\]: nan at index \[2, 1\].*--exclude"),
        ({"b.w": spoilt(float("inf"))}, "", r"b.w \[4, 4\]: inf at index \[2, 1\].*--exclude"),
        ({"b.w": spoilt(float("-inf"), torch.bfloat16)}, "--no-bdm", r"b.w \[4, 4\]: -inf at index \[2, 1\]"),
        ({"b.w": spoilt(1e300, torch.float64)}, "", r"b.w \[4, 4\]: inf at index \[2, 1\]"),
        ({"b.w": spoilt(float("nan"))}, "--method random --k 1", r"b.w \[4, 4\]: nan at index \[2, 1\]"),
        ({"b.w": torch.full((4, 4), 1e9)}, "--c 1 --codebook-dtype float16", "e\\+06.*--codebook-dtype"),
        ({}, "", "no tensors"),
        ({"steps": torch.arange(64).reshape(8, 8)}, "", "no tensor to compress.*not in floating point"),
        ({"norm": torch.ones(64), "bias": torch.ones(8)}, "", "no tensor to compress.*--include"),
        ({"w": torch.zeros(0, 8)}, "", "no values"),
        ({"w": torch.ones(3, 3), "b": torch.ones(2, 2)}, "--s 10", "s = 10.*--s 9"),
        ({"momos.codebook": torch.ones(4, 4)}, "", "momos.codebook.*rename"),
        ({"w": torch.ones(4, 4), "momos.codebook": torch.ones(4)}, "", "momos.codebook.*rename"),
    ],
)
def test_weights(mistake: Mistake, state: dict[str, torch.Tensor], options: str, words: str) -> None:
    save_file(state, "bad.safetensors")
    assert re.search(words, mistake("bad.safetensors", *options.split()))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([torch.ones(4, 4)], "list.*state dict"),
        (torch.ones(4, 4), "Tensor.*state dict"),
        ({"epoch": 3, "name": "x"}, "no tensors"),
        ({"state_dict": {}}, "no tensors"),
        ({"w": torch.ones(8, 8), "p": torch.ones(2, dtype=torch.complex128)}, "p.*complex128"),
        ({"w": torch.ones(8, 8).to(torch.float8_e4m3fnuz)}, "w.*float8_e4m3fnuz"),
        ({"w": torch.ones(8, 8).to_sparse()}, "w.*sparse"),
        ({"w": torch.ones(8, 8, device="meta")}, "w.*meta"),
        ({"__metadata__": torch.ones(8, 8)}, "__metadata__.*rename"),
        ({"a\ud800": torch.ones(8, 8)}, "a.*name"),
    ],
)
def test_torch_files(mistake: Mistake, content: object, words: str) -> None:
    torch.save(content, "bad.pth")
    assert re.search(words, mistake("bad.pth"))


class Payload:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("way", ["zip", "legacy", "pickle"])
@pytest.mark.parametrize("suffix", [".pth", ".bin", ".ckpt"])
def test_a_pickle_with_code_is_refused_and_not_run(mistake: Mistake, way: str, suffix: str) -> None:
    path, content = Path(f"bad{suffix}"), {"state_dict": {"w": torch.ones(8, 8)}, "args": Payload()}
    if way == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=way == "zip")
    message = mistake(path)
    assert "refused" in message
    assert "safetensors.torch.save_file" in message
    assert not Path("executed").exists()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_truncated_torch_files(mistake: Mistake, legacy: bool) -> None:
    torch.save({"w": torch.ones(8, 8), "b": torch.ones(8)}, "bad.pth", _use_new_zipfile_serialization=not legacy)
    whole = Path("bad.pth").read_bytes()
    for part in range(20):
        Path("bad.pth").write_bytes(whole[: len(whole) * part // 20])
        assert mistake("bad.pth").startswith("bad.pth: ")


def test_truncated_safetensors_files(mistake: Mistake) -> None:
    whole = Path("w.safetensors").read_bytes()
    for part in range(20):
        Path("bad.safetensors").write_bytes(whole[: len(whole) * part // 20])
        for command in ("", "inspect", "export", "evaluate --data digits"):
            assert "bad.safetensors: not a sound safetensors file" in mistake(*command.split(), "bad.safetensors")


@pytest.mark.parametrize("name", ["bad.safetensors", "bad.pth", "bad.txt", "bad.npz", "bad.index.json"])
@pytest.mark.parametrize("content", [b"", b"just text\n", b"{}", b"[]", b"[" * 10**5, b"\xff\xfe\0\0", b"\x80\x04."])
def test_files_that_hold_something_else(mistake: Mistake, name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    assert name in mistake(f"./{name}")


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({}, "without shards"),
        ([], "weight_map"),
        ({"w": "nowhere.safetensors"}, "nowhere.safetensors.*missing"),
        ({"w": "nowhere.bin"}, "nowhere.bin.*missing"),
        ({"w": 5}, "index.json: "),
        ({"w": ["w.safetensors"]}, "index.json: "),
        ({"w": ""}, "index.json: "),
        ({"w": "w.safetensors", "v": "w2.safetensors"}, "two shards"),
        ({"w": "w.safetensors", "v": "bad.bin"}, "bad.bin"),
    ],
)
def test_an_index_that_lies(mistake: Mistake, weight_map: object, words: str) -> None:
    save_file({"layer.weight": torch.ones(4, 4)}, "w2.safetensors")
    torch.save({"v": torch.ones(4, 4)}, "bad.bin")
    Path("model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert re.search(words, mistake("model.safetensors.index.json"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no weights file"),
        ({"config.json": "{}"}, "no weights file"),
        ({"config.json": "{"}, "config.json.*JSON"),
        ({"config.json": "[]"}, "config.json.*object"),
        ({"config.json": "[" * 10**5}, "config.json.*JSON"),
        ({"config.json": '{"architecture": "nothing"}'}, "nothing"),
        ({"config.json": '{"architecture": 5}'}, "d"),
        ({"config.json": '{"architecture": "resnet18"}'}, "d"),
        ({"config.json": '{"model_type": "nothing"}', "model.safetensors": None}, "model class None|nothing"),
        ({"config.json": '{"model_type": "bert", "architectures": 5}', "model.safetensors": None}, "config|class"),
        (
            {"config.json": '{"model_type": "bert", "architectures": ["AutoModel"]}', "model.safetensors": None},
            "AutoModel",
        ),
        ({"a.safetensors": None, "b.safetensors": None}, "2 weights files"),
    ],
)
def test_directories(mistake: Mistake, files: dict[str, str | None], words: str) -> None:
    Path("d").mkdir()
    for name, text in files.items():
        Path("d", name).write_bytes(Path("w.safetensors").read_bytes() if text is None else text.encode())
    assert re.search(words, mistake("d"))
    if "resnet18" not in files.get("config.json", ""):
        mistake("d", "--no-pretrained")


def test_a_wrong_architecture(mistake: Mistake) -> None:
    demo = weights_path()
    for architecture in ("resnet18", "momos_mlp", "vit_tiny_patch16_224"):
        assert "--arch" in mistake(demo, "--arch", architecture)


def test_a_compressed_file_is_not_compressed_again(mistake: Mistake, compressed: Path) -> None:
    assert f"momos-compress export {compressed}" in mistake(compressed)
    Path("m").mkdir()
    Path("m", "model.safetensors").write_bytes(compressed.read_bytes())
    assert "export" in mistake("m")


# Outputs


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


# Other commands


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--against digits", "--against MODEL and --data DATA go together"),
        ("--data digits", "--against MODEL and --data DATA go together"),
        ("--samples 3", "go with --against"),
        ("--against digits --data nowhere", "nowhere"),
        ("--against digits --data digits --samples 0", "at least 1 sample"),
        ("--against digits --data digits --samples 451", "450 images, too few for 451"),
        ("--against w.safetensors --data digits", "--arch NAME"),
        ("--against digit --data digits", "'digit' is no timm model"),
    ],
)
def test_inspect_against_the_original(mistake: Mistake, compressed: Path, words: str, message: str) -> None:
    assert message in mistake("inspect", compressed, *words.split())


def test_files_that_are_not_compressed(mistake: Mistake) -> None:
    for command in ("inspect", "export"):
        assert "w.safetensors: not a MoMos file" in mistake(command, "w.safetensors")
        assert mistake(command, ".").startswith(".: not a")
    assert "w.safetensors" in mistake("evaluate", "w.safetensors", "--data", "digits")


@pytest.fixture
def images(work: Path) -> Path:
    """An image folder of two classes with two images in each."""
    for number in range(4):
        path = work / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 60 * number, np.uint8)).save(path)
    return work / "images"


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


# Studies, reports, traces, topology


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("study gone.toml", "no list of models 'gone.toml'"),
        ("study nothing-like-it*", "matches no weights file"),
        ("study w.safetensors --seeds 0", "--seeds"),
        ("study w.safetensors --seed=-1", "--seed must be at least 0"),
        ("study w.safetensors --planes 17", "--planes"),
        ("study w.safetensors --percentile 30", "--percentile"),
        ("study w.safetensors --rates some", "some"),
        ("study w.safetensors --workers 0", "--workers"),
        ("study w.safetensors --cpus 2", "--engine ray"),
        ("study w.safetensors --engine ray --workers 2", "--engine local"),
        ("study w.safetensors --max-cache lots", "'lots' is no size"),
        ("study w.safetensors --measure length", "length"),
        ("study w.safetensors -o w.safetensors", "w.safetensors cannot be used"),
        ("sweep w.safetensors --c 0.1,x", "--c '0.1,x' is no list of numbers"),
        ("sweep w.safetensors --c=", "--c '' is no list"),
        ("sweep w.safetensors --c 0.1,2", "capacity"),
        ("sweep w.safetensors --s 4,2.5", "--s '4,2.5' is no list of whole numbers"),
        ("sweep w.safetensors --s 4,65", "1..64"),
        ("sweep w.safetensors --rate-weight=1,-1", "--rate-weight must lie in"),
        ("sweep w.safetensors --rate-weight=1,2", "--calibrate DATA"),
        ("sweep w.safetensors --data . --calibrate .", "same images"),
        ("sweep gone.safetensors", "no file or directory"),
        ("sweep w.safetensors -o w.safetensors", "w.safetensors cannot be used"),
        ("report .", "no rows of a study"),
        ("report gone", "no rows of a study"),
        ("trace gone", "no file or directory 'gone'"),
        ("trace .", "has no step; its name must end in a number"),
        ("trace w.safetensors", "step"),
        ("topology gone.safetensors", "no file or directory"),
        ("topology w.safetensors --s 0", "1..64"),
        ("topology w.safetensors --csv gone/t.csv", "gone"),
    ],
)
def test_mistakes_of_the_other_commands(mistake: Mistake, words: str, message: str) -> None:
    assert re.search(message, mistake(*words.split()))


# The program itself


def start(*words: object, code: str | None = None, **options: object) -> "subprocess.Popen[str]":
    program = ["-c", code] if code else ["-m", "momos_cli"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def test_the_program_refuses_code_in_one_line(work: Path) -> None:
    Path("bad.pth").write_bytes(pickle.dumps({"state_dict": {"w": torch.ones(8, 8)}, "args": Payload()}))
    before = contents(work)
    process = start("bad.pth")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert out == ""
    assert "safetensors.torch.save_file" in message_of(err)
    assert contents(work) == before


LIMITED = """
import resource
from momos_cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes there")
def test_a_disk_that_fills_up_while_writing(work: Path) -> None:
    Path("out.safetensors").write_bytes(b"precious")
    before = contents(work)
    process = start("digits", "-o", "out.safetensors", "--no-bdm", "--calibrate=none", code=LIMITED)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert out == ""
    assert os.strerror(errno.EFBIG) in message_of(err)
    assert contents(work) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_report_that_cannot_be_written(compressed: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "momos_cli", "inspect", str(compressed)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=300,
        )
    assert done.returncode == 2
    assert os.strerror(errno.ENOSPC) in message_of(done.stderr)


SLOW_TO_SYNC = """
import os, time
from momos_cli.app import main
os.fsync = lambda descriptor: time.sleep(600)
main()
"""


def interrupted(process: "subprocess.Popen[str]", number: signal.Signals, ready: Callable[[], bool]) -> str:
    """Send the signal once ``ready``; checks the exit code and returns standard error."""
    wait_for(lambda: ready() or process.poll() is not None)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number, err
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_writing_leaves_everything_as_it_was(
    work: Path, compressed: Path, number: signal.Signals
) -> None:
    Path("out.safetensors").write_bytes(b"precious")
    before = contents(work)
    process = start("export", compressed, "-o", "out.safetensors", code=SLOW_TO_SYNC)
    interrupted(process, number, lambda: any(path.suffix == ".tmp" for path in work.iterdir()))
    assert contents(work) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_code_that_was_made_from_text_gives_its_exit_code(number: signal.Signals) -> None:
    """As while a dataclass is defined in some library's import."""
    text = f"import os, time; os.kill(os.getpid(), {int(number)}); time.sleep(20)"
    Path("program.py").write_text(f"from momos_cli.exits import guarded\nguarded(lambda: exec({text!r}))\n")
    done = subprocess.run([sys.executable, "-m", "program"], capture_output=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [3, 5, 8, 12])
def test_a_signal_at_any_time_leaves_everything_as_it_was(work: Path, number: signal.Signals, seconds: int) -> None:
    before = contents(work)
    process = start("resnet50", "--no-pretrained", "--c", "0.02")
    deadline = time.monotonic() + seconds
    interrupted(process, number, lambda: time.monotonic() > deadline)
    assert contents(work) == before
