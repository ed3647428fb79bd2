"""What every layer type keeps to: its columns times its weight, flattened as it is cut, are the layer's own outputs."""

from collections.abc import Callable, Iterator

import pytest
import torch
from conftest import memory_checkpoint
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from momos_compress.networks.layer_types import LAYER_TYPES, LayerType, layer_type_of, register_layer_type
from momos_compress.networks.layers import LayerWeight, columns, find_layers
from momos_compress.networks.patches import Columns, linear_columns

EVERYWHERE = 10**9

Case = tuple[Callable[[], nn.Module], tuple[int, ...]]
"""Makes a layer, and the shape of what it is called with."""

IMAGES, SIGNALS = (3, 6, 11, 14), (3, 6, 17)
CASES: dict[str, dict[str, Case]] = {
    "Embedding": {
        "tokens": (lambda: nn.Embedding(9, 6), (5, 7)),
        "one": (lambda: nn.Embedding(9, 6), (5,)),
    },
    "Linear": {
        "vectors": (lambda: nn.Linear(12, 8), (5, 12)),
        "tokens": (lambda: nn.Linear(12, 8), (5, 7, 12)),
        "places": (lambda: nn.Linear(12, 8, bias=False), (2, 3, 7, 12)),
    },
    "Conv1d": {
        "plain": (lambda: nn.Conv1d(6, 8, 3), SIGNALS),
        "stride": (lambda: nn.Conv1d(6, 8, 5, padding=2, stride=2), SIGNALS),
        "dilation": (lambda: nn.Conv1d(6, 8, 4, padding="same", dilation=2), SIGNALS),
        "depthwise": (lambda: nn.Conv1d(6, 6, 3, groups=6, padding=1), SIGNALS),
        "reflect": (lambda: nn.Conv1d(6, 8, 3, padding=2, padding_mode="reflect"), SIGNALS),
        "groups": (lambda: nn.Conv1d(6, 8, 1, groups=2), SIGNALS),
    },
    "Conv2d": {
        "1x1": (lambda: nn.Conv2d(6, 8, 1), IMAGES),
        "3x3": (lambda: nn.Conv2d(6, 8, 3), IMAGES),
        "padding": (lambda: nn.Conv2d(6, 8, 3, padding=1), IMAGES),
        "unequal": (lambda: nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(0, 2), dilation=(1, 2)), IMAGES),
        "stride": (lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), IMAGES),
        "patches": (lambda: nn.Conv2d(6, 8, 4, stride=4), IMAGES),
        "dilation": (lambda: nn.Conv2d(6, 8, 3, dilation=2, padding=2), IMAGES),
        "groups": (lambda: nn.Conv2d(6, 8, 3, groups=2, padding=1), IMAGES),
        "depthwise": (lambda: nn.Conv2d(6, 6, 5, groups=6, padding=2, stride=2), IMAGES),
        "multiplied": (lambda: nn.Conv2d(6, 12, 3, groups=6), IMAGES),
        "same": (lambda: nn.Conv2d(6, 8, (4, 3), padding="same", dilation=(1, 3)), IMAGES),
        "valid": (lambda: nn.Conv2d(6, 8, 3, padding="valid"), IMAGES),
        "reflect": (lambda: nn.Conv2d(6, 8, 3, padding=(2, 1), padding_mode="reflect"), IMAGES),
        "replicate": (lambda: nn.Conv2d(6, 8, 3, padding="same", padding_mode="replicate"), IMAGES),
        "circular": (lambda: nn.Conv2d(6, 8, 3, padding=2, padding_mode="circular"), IMAGES),
    },
    "timm standardised": {
        "stride": (lambda: StdConv2d(6, 8, 3, stride=2), IMAGES),
        "same, stride": (lambda: StdConv2dSame(6, 8, 3, stride=2), IMAGES),
        "same": (lambda: StdConv2dSame(6, 8, 3), IMAGES),
        "same, dilation": (lambda: StdConv2dSame(6, 8, 3, dilation=2), IMAGES),
        "scaled, groups": (lambda: ScaledStdConv2d(6, 8, 3, groups=2), IMAGES),
        "scaled, same": (lambda: ScaledStdConv2dSame(6, 8, 3, stride=2), IMAGES),
    },
    "timm padded to size": {
        f"{size}, stride {stride}, dilation {dilation}": (
            lambda stride=stride, dilation=dilation: Conv2dSame(6, 8, (3, 4), stride, dilation=dilation, groups=2),
            (2, 6, *size),
        )
        for size in ((8, 8), (9, 12), (15, 7))
        for stride in (1, 2, 3)
        for dilation in (1, 2)
    },
    "transformers Conv1D": {
        "tokens": (lambda: Conv1D(8, 12), (3, 5, 12)),
        "square": (lambda: Conv1D(12, 12), (3, 5, 12)),
    },
}  # fmt: skip
EVERY_CASE = [(name, case) for name, cases in CASES.items() for case in cases]


def layer_of(module: nn.Module) -> LayerWeight:
    infos = memory_checkpoint(module.state_dict()).tensors.infos
    return next(layer for layer in find_layers(module, infos) if layer.parameter == "weight")


def all_columns(module: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    found = columns(module, inputs, len(inputs), EVERYWHERE, torch.Generator().manual_seed(0))
    assert found.places == found.vectors.shape[1]
    return found.vectors


def rows_of(module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """The weight as it is cut: (groups, rows of a group, columns)."""
    layer = layer_of(module)
    matrix = layer.layout.matrix(weight.detach())
    return matrix.reshape(layer.groups, len(matrix) // layer.groups, -1)


def product(module: nn.Module, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Outputs (m, outputs) without bias, from columns and rows; for an embedding the rows that are looked up."""
    rows = rows_of(module, weight)
    if layer_of(module).kind == "embedding":
        return rows[0][inputs.reshape(-1)]
    outputs = all_columns(module, inputs) @ rows.transpose(1, 2)
    return outputs.permute(1, 0, 2).reshape(outputs.shape[1], -1)


def own_outputs(module: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The module's own outputs (m, outputs) without bias, and the weight that it used."""
    convolve, used = functional.conv2d, [module.weight]

    def spy(x: torch.Tensor, weight: torch.Tensor, *rest: object) -> torch.Tensor:
        used.append(weight)  # standardised by some layers
        return convolve(x, weight, *rest)  # type: ignore[arg-type]

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "conv2d", spy)
        out: torch.Tensor = module(inputs)
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            out = out.movedim(1, -1)
        if isinstance(getattr(module, "bias", None), torch.Tensor):
            out = out - module.bias
    weight = used[-1]
    assert isinstance(weight, torch.Tensor)
    return out.reshape(-1, out.shape[-1]), weight


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(LAYER_TYPES)
    yield
    LAYER_TYPES.clear()
    LAYER_TYPES.update(before)


def test_every_layer_type_has_cases() -> None:
    assert set(CASES) == set(LAYER_TYPES)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("name", "case"), EVERY_CASE, ids=[" ".join(pair) for pair in EVERY_CASE])
def test_columns_times_the_weight_are_the_layers_outputs(name: str, case: str) -> None:
    make, shape = CASES[name][case]
    module = make()
    if isinstance(getattr(module, "bias", None), nn.Parameter):
        nn.init.normal_(module.bias)  # type: ignore[arg-type]
    inputs = torch.randint(0, 9, shape) if name == "Embedding" else torch.randn(shape)
    assert layer_type_of(module) is LAYER_TYPES[name]
    expected, weight = own_outputs(module, inputs)
    found = product(module, inputs, weight)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "case"), EVERY_CASE, ids=[" ".join(pair) for pair in EVERY_CASE])
def test_a_layers_groups_divide_its_rows(name: str, case: str) -> None:
    module = CASES[name][case][0]()
    layer = layer_of(module)
    assert layer.kind == LAYER_TYPES[name].kind
    assert layer.groups == getattr(module, "groups", 1)
    assert (layer.layout.rows or 1) % layer.groups == 0
    assert layer.layout.fits(tuple(module.weight.shape))  # type: ignore[union-attr,operator]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", [name for name in CASES if name != "Embedding"])
def test_a_sample_of_places_holds_some_of_all_of_them(name: str) -> None:
    make, shape = next(iter(CASES[name].values()))
    module = make()
    shape = (4, 50, shape[-1]) if LAYER_TYPES[name].kind == "linear" else (4, *shape[1:])
    inputs = torch.randn(shape)
    everything = all_columns(module, inputs)
    found, places = columns(module, inputs, 4, 5, torch.Generator().manual_seed(0))
    assert found.shape[1] == 20
    assert places == everything.shape[1] > 20
    known = {row.numpy().tobytes() for row in everything[0]}
    taken = {row.numpy().tobytes() for row in found[0]}
    assert taken <= known
    assert len(taken) == 20


def test_gpt2s_layers_keep_inputs_first() -> None:
    layout = layer_of(Conv1D(8, 12)).layout
    assert (layout.rows, layout.transposed) == (8, True)


def test_a_subclass_that_computes_in_its_own_way_is_unknown() -> None:
    class Flipped(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input.flip(1))

    class Renamed(nn.Conv2d):
        pass

    assert layer_type_of(Flipped(6, 8, 3)) is None
    assert layer_type_of(Renamed(6, 8, 3)) is LAYER_TYPES["Conv2d"]
    with pytest.raises(TypeError, match="Flipped multiplies its weight with nothing that is known"):
        columns(Flipped(6, 8, 3), torch.randn(IMAGES), 3, 1, torch.Generator())


@pytest.mark.parametrize("make", [lambda: nn.Embedding(3, 4), lambda: nn.LayerNorm(4), nn.ReLU])
def test_what_multiplies_nothing_has_no_columns(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(TypeError, match="multiplies its weight with nothing that is known"):
        columns(make(), torch.randn(2, 4), 2, 1, torch.Generator())


@pytest.mark.usefixtures("registered")
def test_a_registered_type_comes_before_those_that_match_as_well() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(2 * input)

    def doubled(
        module: nn.Module, inputs: torch.Tensor, samples: int, keep: int, generator: torch.Generator
    ) -> Columns:
        return Columns(2 * inputs.reshape(1, -1, inputs.shape[-1]), inputs.shape[:-1].numel())

    register_layer_type("Doubled", LayerType(lambda module: isinstance(module, Doubled), "linear", doubled))
    module, inputs = Doubled(12, 8, bias=False), torch.randn(5, 12)
    assert layer_type_of(nn.Linear(12, 8)) is LAYER_TYPES["Linear"]
    torch.testing.assert_close(product(module, inputs, module.weight), module(inputs).detach())


@pytest.mark.usefixtures("registered")
def test_a_registered_type_names_the_attribute_of_its_weight() -> None:
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 3))

    register_layer_type(
        "Bilinear", LayerType(lambda m: isinstance(m, Bilinear), "linear", linear_columns, weight="kernel")
    )
    model = nn.Sequential(Bilinear())
    infos = memory_checkpoint(model.state_dict()).tensors.infos
    assert [(layer.parameter, layer.module, layer.kind) for layer in find_layers(model, infos)] == [
        ("0.kernel", "0", "linear")
    ]


def test_a_name_that_is_taken_raises() -> None:
    with pytest.raises(ValueError, match="layer type 'Linear' is registered already"):
        register_layer_type("Linear", LAYER_TYPES["Conv2d"])
