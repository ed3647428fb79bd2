import timm
import torch
from conftest import memory_checkpoint
from torch import nn

from momos_compress.networks.layers import LayerWeight, find_layers, own_names


def layers_of(model: nn.Module) -> dict[str, LayerWeight]:
    return {layer.parameter: layer for layer in find_layers(model, memory_checkpoint(model.state_dict()).tensors.infos)}


def kinds_of(model: nn.Module) -> dict[str, str]:
    return {name: layer.kind for name, layer in layers_of(model).items()}


# Names


class Encoder(nn.Module):
    base_model_prefix = "bert"

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.bert = inner
        self.head = nn.Linear(3, 3)


def test_names_with_and_without_the_base_models_prefix() -> None:
    inner = nn.ModuleDict({"layer": nn.Linear(3, 3)})
    bare = nn.ModuleDict({"layer": nn.Linear(3, 3)})
    bare.base_model_prefix = "bert"  # type: ignore[assignment]
    assert own_names(Encoder(inner), ["bert.layer.weight", "layer.bias", "head.weight", "other.weight"]) == {
        "bert.layer.weight": "bert.layer.weight", "layer.bias": "bert.layer.bias", "head.weight": "head.weight",
    }  # fmt: skip
    assert own_names(bare, ["bert.layer.weight", "layer.bias"]) == {
        "bert.layer.weight": "layer.weight", "layer.bias": "layer.bias",
    }  # fmt: skip
    assert own_names(inner, ["layer.weight", "bert.layer.weight"]) == {"layer.weight": "layer.weight"}


def test_buffers_and_tied_names_are_known() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    names = ["1.running_mean", "2.weight", "0.weight"]
    assert own_names(model, names) == dict(zip(names, names, strict=True))


# Layers of whole networks


def test_layers_of_bert() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=6,
    )  # fmt: skip
    kinds = kinds_of(BertModel(config))
    assert kinds["embeddings.word_embeddings.weight"] == "embedding"
    assert kinds["embeddings.position_embeddings.weight"] == "embedding"
    assert kinds["encoder.layer.0.attention.self.query.weight"] == "linear"
    assert kinds["pooler.dense.weight"] == "linear"
    assert kinds["embeddings.LayerNorm.weight"] == "other"


def test_layers_of_gpt2_with_its_table_tied_to_the_output() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=30, n_positions=6, n_embd=8, n_layer=1, n_head=2))
    layers = layers_of(model)
    tied = layers["transformer.wte.weight"]  # whose inputs are known where it is the output layer
    assert (tied.kind, tied.module, tied.table) == ("linear", "lm_head", True)
    assert not layers["transformer.wpe.weight"].table
    assert "lm_head.weight" not in layers  # an alias
    attention = layers["transformer.h.0.attn.c_attn.weight"]
    assert (attention.kind, attention.layout.rows, attention.layout.transposed) == ("linear", 24, True)
    # A file may keep the other of the two names.
    infos = memory_checkpoint({"lm_head.weight": model.lm_head.weight}).tensors.infos
    assert [(layer.kind, layer.table) for layer in find_layers(model, infos)] == [("linear", True)]


def test_layers_of_a_vision_transformer() -> None:
    layers = layers_of(timm.create_model("test_vit", num_classes=5))
    assert layers["patch_embed.proj.weight"].kind == "convolution"
    assert layers["blocks.0.attn.qkv.weight"].kind == "linear"
    assert layers["head.weight"].module == "head"
    assert (layers["pos_embed"].kind, layers["pos_embed"].module) == ("other", None)


def test_layers_of_a_depthwise_network() -> None:
    model = timm.create_model("mobilenetv3_small_050", num_classes=5)
    layers = layers_of(model)
    depthwise = layers["blocks.0.0.conv_dw.weight"]
    assert depthwise.groups == depthwise.layout.rows == model.blocks[0][0].conv_dw.out_channels
    assert {layer.groups for name, layer in layers.items() if "conv_pw.weight" in name} == {1}
    assert layers["blocks.0.0.bn1.weight"].kind == "other"


def test_a_parameter_without_a_module_of_its_own_is_data_free() -> None:
    layers = layers_of(nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2)}))
    assert (layers["attention.in_proj_weight"].kind, layers["attention.in_proj_weight"].module) == ("other", None)
    assert layers["attention.out_proj.weight"].kind == "linear"


def test_a_module_under_two_names_is_found_by_either() -> None:
    shared = nn.Linear(3, 3)
    model = nn.ModuleDict({"first": shared, "second": shared})
    infos = memory_checkpoint({"second.weight": shared.weight}).tensors.infos
    assert [(layer.kind, layer.module) for layer in find_layers(model, infos)] == [("linear", "second")]


def test_without_a_network_every_layer_is_unknown() -> None:
    infos = memory_checkpoint({"a.weight": torch.ones(4, 2, 2), "vector": torch.ones(9)}).tensors.infos
    found = find_layers(None, infos)
    assert [(layer.own_name, layer.module, layer.kind) for layer in found] == [
        ("a.weight", None, "other"), ("vector", None, "other"),
    ]  # fmt: skip
    assert [layer.layout.rows for layer in found] == [4, 1]
