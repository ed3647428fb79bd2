"""Hostile architecture records: no network is asked, no file opened, no code run."""

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import (
    Tensors,
    container,
    same,
)

import momos_compress
from momos_compress import MomosError, load_file, load_model
from momos_compress.sources.architecture import Architecture

pytest_plugins = ["sound_files"]
pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the network nor torch.load may be touched; pytest.fail ends such a test at once."""

    def asked(*arguments: object, **keywords: object) -> None:
        pytest.fail(f"the network was asked: {arguments[:3]}")

    def opened(path: object, *arguments: object, **keywords: object) -> None:
        pytest.fail(f"a file named in the container was opened: {path}")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr(torch, "load", opened)


def not_built(path: Path, network: tuple[dict[str, Any], Tensors], record: object) -> str:
    path.write_bytes(container({**network[0], "architecture": record}, network[1]))
    with pytest.raises(MomosError) as caught:
        load_model(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    "record", [5, 0, True, False, "", "resnet18", [], [1], {}, {"library": "os", "name": "system"}]
)
def test_a_record_that_is_none(tmp_path: Path, network: tuple[dict[str, Any], Tensors], record: object) -> None:
    assert "malformed" in not_built(tmp_path / "x", network, record)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pretrained": True},
        {"checkpoint_path": "/etc/hostname"},
        {"pretrained_cfg": {"hf_hub_id": "evil/x"}},
        {"pretrained_cfg": "evil"},
        {"pretrained_cfg_overlay": {"file": "/etc/hostname"}},
        {"cache_dir": "/tmp"},
        {"features_only": True},
        {"scriptable": True},
        {"name": "resnet18"},
        {"model_name": "hf-hub:evil/x"},
        {"state_dict": {}},
        {"pretrained_filter_fn": "os.system"},
        {"model_cfg": {"a": 1}},
        {"num_classes": -1},
        {"num_classes": "ten"},
        {"num_classes": 11},
        {"in_chans": 2},
        {"depth": 14},
        {"depth": 10**30},
        {"nonsense": 1},
        {"weights_only": False},
    ],
)
@pytest.mark.usefixtures("isolated")
def test_timm_arguments_that_fetch_read_or_do_not_fit(
    tmp_path: Path, network: tuple[dict[str, Any], Tensors], arguments: dict[str, object]
) -> None:
    not_built(tmp_path / "x", network, {**network[0]["architecture"], "arguments": arguments})


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:evil/x",
        "hf_hub:evil/x",
        "local-dir:/tmp",
        "evil/x",
        "resnet18",
        "resnet18.a1_in1k",
        "",
        ".",
        "a\nb",
        "x",
    ],
)
@pytest.mark.usefixtures("isolated")
def test_timm_names_that_are_none(tmp_path: Path, network: tuple[dict[str, Any], Tensors], name: str) -> None:
    not_built(tmp_path / "x", network, {**network[0]["architecture"], "name": name})


@pytest.mark.parametrize(
    ("arguments", "words"), [({"output_stride": 7}, "fit"), ({"stem_type": 3}, "fit"), ({"block": "x"}, "fit")]
)
@pytest.mark.usefixtures("isolated")
def test_timm_arguments_that_trip_an_architecture(
    tmp_path: Path, network: tuple[dict[str, Any], Tensors], arguments: dict[str, object], words: str
) -> None:
    record = {"library": "timm", "name": "resnet18", "arguments": arguments, "preprocessing": {}}
    assert words in not_built(tmp_path / "x", network, record)


@pytest.mark.parametrize("value", ["x", -3, [1], {"a": 1}, 0, [["a"]]])
@pytest.mark.parametrize("key", ["input_size", "num_classes", "first_conv", "classifier", "mean", "crop_pct"])
@pytest.mark.usefixtures("isolated")
def test_preprocessing_that_makes_no_sense(
    tmp_path: Path, network: tuple[dict[str, Any], Tensors], key: str, value: object
) -> None:
    record = network[0]["architecture"]
    hostile = {**record, "preprocessing": {**record["preprocessing"], key: value}}
    path = tmp_path / "x"
    path.write_bytes(container({**network[0], "architecture": hostile}, network[1]))
    with contextlib.suppress(MomosError):
        model = load_model(path)
        assert same(dict(model.state_dict()), load_file(path))
        momos_compress.evaluate(model, "digits")


@pytest.mark.usefixtures("isolated")
def test_weights_are_not_left_random(tmp_path: Path, network: tuple[dict[str, Any], Tensors]) -> None:
    recipe, tensors = network
    lacking = {("other" if name == "bn1.weight" else name): tensor for name, tensor in tensors.items()}
    for arguments in ({}, {"pretrained_strict": False}):
        not_built(tmp_path / "x", (recipe, lacking), {**recipe["architecture"], "arguments": arguments})


BERT = {
    "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
    "vocab_size": 10, "max_position_embeddings": 8,
}  # fmt: skip
DETR = {"model_type": "detr", "use_timm_backbone": True}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("AutoModel", BERT),
        ("pipeline", BERT),
        ("PreTrainedModel", BERT),
        ("", BERT),
        ("evil/x", BERT),
        ("BertModel", {**BERT, "auto_map": {"AutoModel": "evil/x--modeling.Model", "AutoConfig": "evil/x--c.Config"}}),
        ("BertModel", {**BERT, "_name_or_path": "evil/x", "name_or_path": "evil/x"}),
        ("BertModel", {**BERT, "attn_implementation": "evil/x", "_attn_implementation": "evil/x"}),
        ("BertModel", {**BERT, "quantization_config": {"quant_method": "evil"}}),
        ("BertModel", {**BERT, "dtype": "evil"}),
        ("BertModel", {**BERT, "dtype": 5}),
        ("BertModel", {**BERT, "hidden_size": "x"}),
        ("BertModel", {**BERT, "hidden_size": 0}),
        ("BertModel", {**BERT, "hidden_size": -1}),
        ("BertModel", {**BERT, "vocab_size": 0}),
        ("BertModel", {**BERT, "model_type": "evil"}),
        ("BertModel", {**BERT, "model_type": ["bert"]}),
        ("BertModel", {**BERT, "model_type": None}),
        ("BertModel", {**BERT, "cls": 1}),
        ("TimmWrapperModel", {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/x"}),
        ("TimmWrapperForImageClassification", {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/x"}),
        (
            "TimmWrapperModel",
            {
                "model_type": "timm_wrapper",
                "architecture": "resnet18",
                "model_args": {"checkpoint_path": "x.pth"},
            },
        ),
        ("TimmBackbone", {"model_type": "timm_backbone", "backbone": "hf-hub:evil/x"}),
        ("DetrForObjectDetection", {**DETR, "backbone": "hf-hub:evil/x", "use_pretrained_backbone": True}),
        ("DetrForObjectDetection", {**DETR, "backbone": "evil/x", "use_timm_backbone": False}),
        (
            "DetrForObjectDetection",
            {"model_type": "detr", "backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:evil/x"}},
        ),
    ],
)
@pytest.mark.usefixtures("isolated")
def test_transformers_records_that_fetch_run_code_or_do_not_fit(
    tmp_path: Path,
    network: tuple[dict[str, Any], Tensors],
    name: str,
    config: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    Path("x.pth").write_bytes(b"\x80\x02cposix\nsystem\nX\x0e\x00\x00\x00touch executed\x85R.")
    not_built(tmp_path / "x", network, {"library": "transformers", "name": name, "arguments": config})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.pth"]


def test_nested_configurations_lose_what_could_fetch_run_code_or_name_a_place() -> None:
    inner = {
        **BERT,
        "auto_map": {"AutoModel": "evil/x--m.M"},
        "_name_or_path": "/home/somebody/model",
        "_attn_implementation": "evil/kernel",
        "attn_implementation": "evil/kernel",
        "quantization_config": {"quant_method": "evil"},
    }
    config = {"model_type": "clip", "text_config": inner, "parts": [inner, {"deeper": inner}]}
    record = {"library": "transformers", "name": "CLIPModel", "arguments": config}
    kept = json.dumps(Architecture.from_json(record).to_json())
    for word in ("evil", "somebody", "auto_map", "attn_implementation"):
        assert word not in kept
    assert "hidden_size" in kept
