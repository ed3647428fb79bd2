import gc
from pathlib import Path

import pytest
import timm
import torch
from conftest import memory_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file as load_safetensors
from safetensors.torch import save_file

from momos_compress import MomosError, Settings, compress, load_file, load_model, open_checkpoint
from momos_compress.networks.export import export
from momos_compress.sources.architecture import Architecture


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext", "test_mambaout", "test_efficientnet"])
def test_a_timm_model_comes_back_with_exactly_the_files_weights(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.momos.safetensors"
    compress(open_checkpoint(name, pretrained=False), Settings(c=0.2), path)
    model = load_model(path)
    decoded = load_file(path)
    own = model.state_dict()
    assert set(own) == set(decoded)
    assert all(torch.equal(own[key], decoded[key]) for key in own)
    assert not model.training
    assert "state_dict" not in model.pretrained_cfg
    size = model.pretrained_cfg["input_size"]
    with torch.inference_mode():
        assert torch.isfinite(model(torch.zeros(1, *size))).all()


def test_without_compression_error_the_function_is_unchanged(tmp_path: Path) -> None:
    checkpoint = open_checkpoint("test_vit", pretrained=False)
    path = tmp_path / "m.momos.safetensors"
    settings = Settings(c=1.0, protocol="paper", passthrough="keep", zero_motif=False)
    report = compress(checkpoint, settings, path)
    assert report.relative_distortion == 0
    original = timm.create_model("test_vit").eval()
    original.load_state_dict({info.name: checkpoint.read(info.name) for info in checkpoint.tensors.infos})
    images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(load_model(path)(images), original(images))


def test_the_decoded_dictionary_does_not_stay_behind_the_model(tmp_path: Path) -> None:
    path = tmp_path / "m.momos.safetensors"
    compress(open_checkpoint("test_vit", pretrained=False), Settings(c=0.1), path)
    model = load_model(path)
    gc.collect()
    shape = model.blocks[0].attn.qkv.weight.shape
    own = {parameter.data_ptr() for parameter in model.parameters() if parameter.shape == shape}
    alive = [t for t in gc.get_objects() if issubclass(type(t), torch.Tensor) and t.shape == shape]
    assert {tensor.data_ptr() for tensor in alive} == own


def test_a_fine_tuned_head_and_input_come_back(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    path = tmp_path / "m.momos.safetensors"
    compress(
        open_checkpoint(str(tmp_path / "w.safetensors"), arch="test_resnet"), Settings(c=0.5, calibrate="none"), path
    )
    loaded = load_model(path)
    assert loaded(torch.zeros(1, 1, 64, 64)).shape == (1, 7)


def test_a_transformers_model_with_tied_weights_comes_back(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, vocab_size=60)
    original = BertForMaskedLM(config).eval()
    original.save_pretrained(tmp_path / "bert")
    path = tmp_path / "m.momos.safetensors"
    settings = Settings(c=1.0, protocol="paper", passthrough="keep", zero_motif=False)
    report = compress(open_checkpoint(str(tmp_path / "bert")), settings, path)
    assert report.baseline is not None
    assert "BertForMaskedLM as transformers initialises it" in report.baseline
    model = load_model(path)
    assert type(model) is BertForMaskedLM
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    tokens = torch.arange(12).reshape(1, 12)
    with torch.inference_mode():
        assert torch.equal(model(tokens).logits, original(tokens).logits)


def test_export_is_read_by_software_that_knows_no_momos(tmp_path: Path) -> None:
    path, dense = tmp_path / "m.momos.safetensors", tmp_path / "dense.safetensors"
    compress(open_checkpoint("digits"), Settings(c=0.1, calibrate="none"), path)
    assert export(path, dense) == dense.stat().st_size
    exported, decoded = load_safetensors(dense), load_file(path)
    assert set(exported) == set(decoded)
    assert all(torch.equal(exported[name], decoded[name]) for name in decoded)
    with safe_open(dense, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    # The architecture travels along, so the exported file evaluates as the compressed one does.
    assert open_checkpoint(str(dense)).architecture.name == "digits_resnet8"  # type: ignore[union-attr]
    with pytest.raises(MomosError, match="is the input; choose another `output`"):
        export(path, path)


def test_a_file_without_an_architecture_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "m.momos.safetensors"
    compress(memory_checkpoint({"w": torch.randn(20, 20)}), Settings(c=0.1), path)
    with pytest.raises(MomosError, match="compress with `arch='NAME'`"):
        load_model(path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"library": "timm", "name": "resnet18", "arguments": {"checkpoint_path": "/etc/passwd"}}, "checkpoint_path"),
        ({"library": "timm", "name": "resnet18", "arguments": {"pretrained": True}}, "pretrained"),
        ({"library": "os", "name": "system"}, "malformed"),
        ({"library": "timm", "name": 3}, "malformed"),
    ],
)
def test_an_untrusted_architecture_record_is_checked(record: dict[str, object], message: str) -> None:
    with pytest.raises(MomosError, match=message):
        Architecture.from_json(record)


@pytest.mark.parametrize("name", ["hf-hub:evil/model", "local-dir:/tmp", "resnet18.a1_in1k", "../x"])
def test_an_architecture_name_never_reaches_a_hub_or_a_path(name: str) -> None:
    with pytest.raises(MomosError, match="timm has no architecture"):
        Architecture("timm", name).build(seed=0)


@pytest.mark.parametrize("name", ["AutoModel", "os", "BertConfig", "pipeline", "Nothing"])
def test_only_model_classes_of_transformers_are_built(name: str) -> None:
    with pytest.raises(MomosError, match="has no model class"):
        Architecture("transformers", name, {"model_type": "bert"}).build(seed=0)
