from collections.abc import Callable

import pytest
import timm
import torch
from conftest import memory_checkpoint
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn
from torch.nn import functional

from momos_compress.networks.layers import LayerWeight, columns, find_layers, own_names

EVERYWHERE = 10**9


def layers_of(model: nn.Module) -> dict[str, LayerWeight]:
    return {layer.parameter: layer for layer in find_layers(model, memory_checkpoint(model.state_dict()).tensors.infos)}


def kinds_of(model: nn.Module) -> dict[str, str]:
    return {name: layer.kind for name, layer in layers_of(model).items()}


def all_columns(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    found, places = columns(module, inputs, len(inputs), EVERYWHERE, torch.Generator().manual_seed(0))
    assert places == found.shape[1]
    return found


def product(module: nn.Module, inputs: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Outputs (m, outputs) without bias, from columns and the rows that ``find_layers`` sees."""
    layer = layers_of(module)["weight"]
    own = module.weight if weight is None else weight
    assert isinstance(own, torch.Tensor)
    matrix = layer.layout.matrix(own).detach().reshape(layer.groups, -1, own.numel() // (layer.layout.rows or 1))
    outputs = all_columns(module, inputs) @ matrix.transpose(1, 2)
    return outputs.permute(1, 0, 2).reshape(outputs.shape[1], -1)


def outputs_of(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """The module's own (m, outputs), without bias."""
    with torch.no_grad():
        out = module(inputs)
        if module.bias is not None:
            assert isinstance(module.bias, torch.Tensor)
            spatial = isinstance(module, (nn.Conv1d, nn.Conv2d))
            out = out - module.bias.reshape(-1, *(1,) * (out.ndim - 2)) if spatial else out - module.bias
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return out.movedim(1, -1).reshape(-1, out.shape[1])
    return out.reshape(-1, out.shape[-1])


def check(module: nn.Module, inputs: torch.Tensor) -> None:
    expected = outputs_of(module, inputs)
    found = product(module, inputs)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("shape", [(5, 12), (5, 7, 12), (2, 3, 7, 12)])
def test_columns_of_a_linear_layer_are_its_inputs(shape: tuple[int, ...]) -> None:
    check(nn.Linear(12, 8), torch.randn(shape))


CONVOLUTIONS = {
    "1x1": lambda: nn.Conv2d(6, 8, 1),
    "3x3": lambda: nn.Conv2d(6, 8, 3),
    "padding": lambda: nn.Conv2d(6, 8, 3, padding=1),
    "unequal": lambda: nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    "stride": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False),
    "patches": lambda: nn.Conv2d(6, 8, 4, stride=4),
    "dilation": lambda: nn.Conv2d(6, 8, 3, dilation=2, padding=2),
    "groups": lambda: nn.Conv2d(6, 8, 3, groups=2, padding=1),
    "depthwise": lambda: nn.Conv2d(6, 6, 5, groups=6, padding=2, stride=2),
    "multiplied": lambda: nn.Conv2d(6, 12, 3, groups=6),
    "same": lambda: nn.Conv2d(6, 8, (4, 3), padding="same", dilation=(1, 3)),
    "valid": lambda: nn.Conv2d(6, 8, 3, padding="valid"),
    "reflect": lambda: nn.Conv2d(6, 8, 3, padding=(2, 1), padding_mode="reflect"),
    "replicate": lambda: nn.Conv2d(6, 8, 3, padding="same", padding_mode="replicate"),
    "circular": lambda: nn.Conv2d(6, 8, 3, padding=2, padding_mode="circular"),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_columns_of_a_convolution_are_its_patches(name: str) -> None:
    check(CONVOLUTIONS[name](), torch.randn(3, 6, 11, 14))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv1d(6, 8, 3),
        lambda: nn.Conv1d(6, 8, 5, padding=2, stride=2),
        lambda: nn.Conv1d(6, 8, 4, padding="same", dilation=2),
        lambda: nn.Conv1d(6, 6, 3, groups=6, padding=1),
        lambda: nn.Conv1d(6, 8, 3, padding=2, padding_mode="reflect"),
        lambda: nn.Conv1d(6, 8, 1, groups=2),
    ],
)
def test_columns_of_a_convolution_along_one_dimension(make: Callable[[], nn.Module]) -> None:
    check(make(), torch.randn(3, 6, 17))


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (15, 7)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_columns_where_padding_depends_on_the_size(size: tuple[int, int], stride: int, dilation: int) -> None:
    check(Conv2dSame(6, 8, (3, 4), stride=stride, dilation=dilation, groups=2), torch.randn(2, 6, *size))


@pytest.mark.parametrize(
    "make",
    [
        lambda: StdConv2d(6, 8, 3, stride=2),
        lambda: StdConv2dSame(6, 8, 3, stride=2),
        lambda: StdConv2dSame(6, 8, 3),
        lambda: ScaledStdConv2d(6, 8, 3, groups=2),
        lambda: ScaledStdConv2dSame(6, 8, 3, stride=2),
    ],
)
def test_columns_meet_a_weight_that_its_layer_standardises(make: Callable[[], nn.Module]) -> None:
    module, seen = make(), []
    inputs = torch.randn(2, 6, 12, 9)
    convolve = functional.conv2d

    def spy(x: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(weight)
        return convolve(x, weight, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "conv2d", spy)
        expected = outputs_of(module, inputs)
    torch.testing.assert_close(product(module, inputs, seen[0]), expected, rtol=1e-4, atol=1e-4)


def test_columns_of_gpt2s_layers_which_keep_inputs_first() -> None:
    from transformers.pytorch_utils import Conv1D

    module = Conv1D(8, 12)
    nn.init.normal_(module.bias)
    assert layers_of(module)["weight"].layout.rows == 8
    check(module, torch.randn(3, 5, 12))


def test_a_subclass_that_convolves_in_its_own_way_is_treated_as_unknown() -> None:
    class Flipped(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input.flip(1))

    class Renamed(nn.Conv2d):
        pass

    assert kinds_of(nn.Sequential(Flipped(6, 8, 3), Renamed(6, 8, 3))) == {
        "0.weight": "other", "0.bias": "other", "1.weight": "convolution", "1.bias": "other",
    }  # fmt: skip


@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 4), lambda: nn.Conv2d(6, 8, 3), lambda: nn.Conv1d(6, 8, 3)])
def test_a_sample_of_places_holds_some_of_all_of_them(make: Callable[[], nn.Module]) -> None:
    module = make()
    shape = {nn.Linear: (4, 50, 6), nn.Conv2d: (4, 6, 9, 9), nn.Conv1d: (4, 6, 51)}[type(module)]
    inputs = torch.randn(shape)
    everything = all_columns(module, inputs)
    found, places = columns(module, inputs, 4, 10, torch.Generator().manual_seed(0))
    assert found.shape[1] == 40
    assert places == everything.shape[1]
    known = {row.numpy().tobytes() for row in everything[0]}
    taken = [row.numpy().tobytes() for row in found[0]]
    assert set(taken) <= known
    assert len(set(taken)) == 40


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
    assert layers["transformer.wte.weight"].kind == "embedding"
    assert "lm_head.weight" not in layers  # an alias
    attention = layers["transformer.h.0.attn.c_attn.weight"]
    assert (attention.kind, attention.layout.rows, attention.layout.transposed) == ("linear", 24, True)
    # A file may keep the other of the two names.
    infos = memory_checkpoint({"lm_head.weight": model.lm_head.weight}).tensors.infos
    assert [layer.kind for layer in find_layers(model, infos)] == ["embedding"]


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
