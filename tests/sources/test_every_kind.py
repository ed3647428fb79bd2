"""Every row of the two tables keeps its contract; one string is parsed once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from momos_compress import SourceError, open_checkpoint
from momos_compress.sources import hub
from momos_compress.sources.address import Address
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.open import current_revision, hub_repository, is_unknown_name, needs_hub
from momos_compress.sources.registry import (
    KINDS,
    LIBRARIES,
    Opening,
    library_of,
    parse,
    register_library,
    register_source_kind,
    rows,
    weights_suffixes,
)

WEIGHTS = {"w": torch.arange(12.0).reshape(3, 4)}


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory each test runs in: weights files, and a directory with one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    for name in ("w.safetensors", "d/w.safetensors"):
        save_file(WEIGHTS, name)
    return tmp_path


EXAMPLES = {
    "unknown": "nothing-of-that-name",
    "hub": "org/name@main",
    "timm": "test_vit",
    "file": "w.safetensors",
    "directory": "d",
    "gguf": "m.gguf",
    "named": "digits",
}
"""A text that each kind claims; a new row needs one here."""


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_source_keeps_its_contract(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "gguf":
        from test_gguf import TYPE, network, write

        write(Path(EXAMPLES[name]), network("llama", tied=True), TYPE.Q8_0)
    monkeypatch.setattr(hub, "latest_commit", lambda repo: f"commit of {repo}")
    text = EXAMPLES[name]
    source, kind = parse(text), dict(zip(KINDS, rows(KINDS), strict=True))[name]
    assert source.kind is kind
    assert source.address.text == text
    assert all(suffix.startswith(".") for suffix in kind.suffixes)
    assert needs_hub(text) is kind.remote
    assert hub_repository(text) == source.repository()
    if not kind.remote:
        assert source.repository() is None
        revision = source.revision()
        assert str(revision).startswith("sha256:")
        assert revision == current_revision(text)
        checkpoint = source.open()
        assert isinstance(checkpoint, Checkpoint)
        assert checkpoint.source == text
        read = {info.name: checkpoint.read(info.name) for info in checkpoint.tensors.infos}
        assert read
        assert all(tuple(read[info.name].shape) == info.shape for info in checkpoint.tensors.infos)
        assert all(read[info.name].dtype == info.dtype for info in checkpoint.tensors.infos)


@pytest.mark.parametrize(
    ("text", "kind", "repository", "remote"),
    [
        ("hf-hub:org/name@v1", "hub", "org/name", True),
        ("hf_hub:name", "hub", "name", True),
        ("org/name", "hub", "org/name", True),
        ("test_vit.r160_in1k", "timm", "timm/test_vit.r160_in1k", True),
        ("local-dir:d", "directory", None, False),
        ("local-dir:nowhere", "directory", None, False),
        ("./d/w.safetensors", "file", None, False),
        ("d/nowhere.safetensors", "unknown", "d/nowhere.safetensors", True),
        ("./nowhere", "unknown", "./nowhere", True),
        ("a/b/c", "unknown", "a/b/c", True),
        ("~nobody-of-that-name/w", "unknown", "~nobody-of-that-name/w", True),
        ("", "directory", None, False),
    ],
)
def test_one_string_is_one_source(text: str, kind: str, repository: str | None, remote: bool) -> None:
    source = parse(text)
    assert source.kind is dict(zip(KINDS, rows(KINDS), strict=True))[kind]
    assert source.repository() == repository
    assert source.kind.remote is remote


def test_what_is_on_the_disk_comes_before_names_of_models(work: Path) -> None:
    assert is_unknown_name("resnet1818")
    save_file(WEIGHTS, work / "resnet18")
    (work / "org").mkdir()
    (work / "org" / "name").mkdir()
    assert needs_hub("resnet34")
    assert not needs_hub("resnet18")
    assert not needs_hub("org/name")
    for text in ("resnet18", "resnet34", "org/nothing", "hf-hub:x", "w.pth", "digits"):
        assert not is_unknown_name(text)


class Constant:
    """A kind of source for the tests: the text "one" is a matrix of ones."""

    suffixes = (".ones",)
    remote = False

    def claims(self, address: Address) -> bool:
        return address.text == "digits" or address.path.suffix == ".ones"

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        from conftest import memory_checkpoint

        return memory_checkpoint({"ones": torch.full((2, 2), 1.0 + opening.seed)})

    def revision(self, address: Address) -> str | None:
        return "1"

    def repository(self, address: Address) -> str | None:
        return None


def test_a_kind_of_another_package_is_asked_first_and_takes_no_name_twice() -> None:
    assert ".ones" not in weights_suffixes()
    register_source_kind("constant", Constant())
    try:
        assert torch.equal(open_checkpoint("digits", seed=1).read("ones"), torch.full((2, 2), 2.0))
        assert ".ones" in weights_suffixes()
        assert not is_unknown_name("x.ones")
        with pytest.raises(ValueError, match="the source kind 'constant' is registered already"):
            register_source_kind("constant", Constant())
    finally:
        del KINDS["constant"]
    assert open_checkpoint("digits").source == "digits"


def test_a_library_takes_no_name_twice() -> None:
    with pytest.raises(ValueError, match="the library 'timm' is registered already"):
        register_library("timm", "nowhere:LIBRARY")


def _save_timm(directory: Path) -> torch.nn.Module:
    model = timm.create_model("test_vit", num_classes=3)
    timm.models.save_for_hf(model, directory, safe_serialization=True)
    return model


def _save_transformers(directory: Path) -> torch.nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20, intermediate_size=8)
    model: torch.nn.Module = BertModel(config)
    model.save_pretrained(directory)  # type: ignore[operator]
    return model


WRITERS: dict[str, Callable[[Path], torch.nn.Module]] = {"timm": _save_timm, "transformers": _save_transformers}
"""What writes a directory of each library; a new row needs one here."""


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_keeps_its_contract(name: str, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    model = WRITERS[name](directory)
    config: dict[str, Any] = json.loads((directory / "config.json").read_text())
    library = dict(zip(LIBRARIES, rows(LIBRARIES), strict=True))[name]
    assert [other.owns(config) for other in rows(LIBRARIES)].count(True) == 1
    assert library_of(config) is library
    assert not library.owns({})
    weights = next(directory / file for file in library.weights_names if (directory / file).is_file())
    architecture = library.architecture(config, directory)
    assert architecture.library == name
    checkpoint = library.open_directory("what was named", directory, weights, config, {"id": "x"})
    assert checkpoint.source == "what was named"
    assert checkpoint.provenance["id"] == "x"
    assert checkpoint.architecture == architecture
    assert checkpoint.parameters == tuple(dict(model.named_parameters()))
    for key, value in model.named_parameters():
        assert torch.equal(checkpoint.read(key), value)
    weights.unlink()
    with pytest.raises(SourceError):
        library.open_directory("what was named", directory, None, config, {"id": "x"})
