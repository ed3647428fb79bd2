"""Weights that cannot be compressed, or not safely read."""

import json
import pickle
import re
from pathlib import Path

import mistakes
import pytest
import torch
from safetensors.torch import save_file

from momos_zoo import weights_path

Mistake, Payload, compressed, mistake, spoilt, work = (
    mistakes.Mistake,
    mistakes.Payload,
    mistakes.compressed,
    mistakes.mistake,
    mistakes.spoilt,
    mistakes.work,
)


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
        ({"w": torch.ones(3, 3), "b": torch.ones(2, 2)}, "--s 10", "s = 10.*lower --s to 9 or less"),
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
