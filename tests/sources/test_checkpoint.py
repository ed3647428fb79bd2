import argparse
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from momos_compress import SourceError, open_checkpoint
from momos_compress.sources.weights_files import open_safetensors, open_torch


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"a.weight": torch.randn(6, 5, generator=generator), "a.bias": torch.randn(6, generator=generator)}


def same(checkpoint_path: Path, expected: dict[str, torch.Tensor]) -> bool:
    checkpoint = open_checkpoint(str(checkpoint_path))
    names = [info.name for info in checkpoint.tensors.infos]
    return set(names) == set(expected) and all(torch.equal(checkpoint.read(name), expected[name]) for name in names)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".th", ".bin"])
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_in_both_formats(suffix: str, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(state(), path, _use_new_zipfile_serialization=not legacy)
    assert same(path, state())


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_ema", "state_dict_ema"])
def test_wrappers_and_the_parallel_prefix_are_undone(wrapper: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    inner = {f"module.{name}": tensor for name, tensor in state().items()}
    torch.save({"epoch": 3, wrapper: inner, "best": 0.5}, path)
    assert same(path, state())


def test_a_prefix_that_only_some_names_have_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    mixed = {"module.x": torch.ones(2, 2), "y": torch.ones(2)}
    torch.save(mixed, path)
    assert same(path, mixed)


def test_a_file_that_needs_code_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": state(), "args": argparse.Namespace(lr=0.1)}, path)
    with pytest.raises(SourceError, match=r"would run code.*save_file"):
        open_torch(path)


@pytest.mark.parametrize(("content", "message"), [([1, 2], "holds a list"), ({"epoch": 1}, "holds no tensors")])
def test_a_torch_file_without_weights_is_told(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save(content, path)
    with pytest.raises(SourceError, match=message):
        open_torch(path)


def shard(directory: Path) -> Path:
    save_file({"a.weight": state()["a.weight"]}, directory / "model-00001-of-00002.safetensors")
    save_file({"a.bias": state()["a.bias"]}, directory / "model-00002-of-00002.safetensors")
    index = directory / "model.safetensors.index.json"
    files = {"a.weight": "model-00001-of-00002.safetensors", "a.bias": "model-00002-of-00002.safetensors"}
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return index


def test_a_sharded_directory_and_its_index_are_one_checkpoint(tmp_path: Path) -> None:
    index = shard(tmp_path)
    assert same(tmp_path, state())
    assert same(index, state())
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.source_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert len(checkpoint.provenance["files"]) == 2
    assert checkpoint.name == tmp_path.name


def test_sharded_torch_files(tmp_path: Path) -> None:
    torch.save({"a.weight": state()["a.weight"]}, tmp_path / "pytorch_model-1.bin")
    torch.save({"a.bias": state()["a.bias"]}, tmp_path / "pytorch_model-2.bin")
    index = {"weight_map": {"a.weight": "pytorch_model-1.bin", "a.bias": "pytorch_model-2.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert same(tmp_path, state())


def test_a_missing_shard_and_a_repeated_tensor_are_told(tmp_path: Path) -> None:
    index = shard(tmp_path)
    one, two = sorted(tmp_path.glob("*.safetensors"))
    with pytest.raises(SourceError, match=r"'a\.weight' stands in two shards"):
        open_safetensors([one, one])
    two.unlink()
    with pytest.raises(SourceError, match=r"model-00002-of-00002\.safetensors is named in .* and missing"):
        open_checkpoint(str(index))


def test_a_shard_outside_the_directory_is_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    save_file(state(), tmp_path / "outside.safetensors")
    index = inside / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "../outside.safetensors"}}))
    with pytest.raises(SourceError, match="no plain file name"):
        open_checkpoint(str(index))


def test_provenance_has_hashes_and_no_path(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "w.safetensors"
    save_file(state(), path)
    provenance = open_checkpoint(str(path)).provenance
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert provenance["files"] == [{"name": "w.safetensors", "bytes": path.stat().st_size, "sha256": digest}]
    assert str(tmp_path) not in json.dumps(provenance)


def test_a_directory_with_several_files_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no weights file"):
        open_checkpoint(str(tmp_path))
    for name in ("x", "y"):
        save_file(state(), tmp_path / f"{name}.safetensors")
    with pytest.raises(SourceError, match="2 weights files and no index; name the file itself"):
        open_checkpoint(str(tmp_path))


def test_random_weights_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = open_checkpoint("test_vit", pretrained=False, seed=4)
    assert checkpoint.provenance["pretrained"] is False
    again = open_checkpoint("test_vit", pretrained=False, seed=4)
    other = open_checkpoint("test_vit", pretrained=False, seed=5)
    name = "blocks.0.attn.qkv.weight"
    assert torch.equal(checkpoint.read(name), again.read(name))
    assert not torch.equal(checkpoint.read(name), other.read(name))
    with pytest.raises(SourceError, match=r"no weights for 'cifar_resnet20'.*`checkpoint='FILE'`.*`pretrained=False`"):
        open_checkpoint("cifar_resnet20")


def test_the_random_state_of_torch_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    open_checkpoint("test_vit", pretrained=False, seed=4)
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_for_a_named_architecture_takes_its_own_class_count(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    path = tmp_path / "fine_tuned.safetensors"
    save_file(model.state_dict(), path)
    checkpoint = open_checkpoint("test_resnet", checkpoint=str(path))
    assert checkpoint.name == "test_resnet"
    assert checkpoint.architecture is not None
    assert dict(checkpoint.architecture.arguments) == {"num_classes": 7, "in_chans": 1}
    assert checkpoint.parameters == tuple(name for name, _ in model.named_parameters())
    assert "bn1.running_mean" in checkpoint.buffers


def test_the_wrong_architecture_is_told_by_the_first_tensor_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    with pytest.raises(SourceError, match=r"is \(.*\) in .*`arch`"):
        open_checkpoint(str(path), arch="resnet18")


def test_weights_that_lack_parameters_are_measured_without_the_initialiser(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    weights = timm.create_model("test_resnet").state_dict()
    del weights["fc.bias"]
    save_file(weights, path)
    checkpoint = open_checkpoint(str(path), arch="test_resnet")
    assert checkpoint.parameters is None
    assert "fc.bias" in checkpoint.warnings[0]


def test_a_wrong_tag_and_a_wrong_name_get_close_ones() -> None:
    with pytest.raises(SourceError, match=r"no weights tagged 'a9'; choose from .*resnet50\.a1_in1k"):
        open_checkpoint("resnet50.a9")
    with pytest.raises(SourceError, match="close models: resnet50"):
        open_checkpoint("resnet5")
    with pytest.raises(SourceError, match=r"no file or directory 'w\.pth'"):
        open_checkpoint("w.pth")
    with pytest.raises(SourceError, match="timm has no architecture 'resnt18'"):
        open_checkpoint("digits", arch="resnt18")


def test_a_timm_directory_and_a_transformers_directory(tmp_path: Path) -> None:
    from timm.models import save_for_hf
    from transformers import BertConfig, BertModel

    model = timm.create_model("test_vit", num_classes=5)
    save_for_hf(model, tmp_path / "vit")
    for source in (str(tmp_path / "vit"), f"local-dir:{tmp_path / 'vit'}"):
        checkpoint = open_checkpoint(source)
        assert checkpoint.architecture is not None
        assert (checkpoint.architecture.library, checkpoint.architecture.name) == ("timm", "test_vit")
        assert torch.equal(checkpoint.read("head.weight"), model.head.weight)
    bert = BertModel(BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=50))
    bert.save_pretrained(tmp_path / "bert", max_shard_size="40KB")
    assert (tmp_path / "bert" / "model.safetensors.index.json").is_file()
    checkpoint = open_checkpoint(str(tmp_path / "bert"))
    assert checkpoint.architecture is not None
    assert (checkpoint.architecture.library, checkpoint.architecture.name) == ("transformers", "BertModel")
    assert checkpoint.parameters == tuple(name for name, _ in bert.named_parameters())
