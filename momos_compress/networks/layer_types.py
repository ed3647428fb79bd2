"""Layer types: the table of what a layer's weight is multiplied with, by kind of module."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import nn

from momos_compress.mosaic.blocks import Layout, row_layout
from momos_compress.networks.patches import Columns, linear_columns, patches

LayerKind = Literal["linear", "convolution", "embedding", "other"]


class ColumnsOf(Protocol):
    """Turns a layer's inputs into what its weight's columns are multiplied with."""

    def __call__(
        self, module: nn.Module, inputs: torch.Tensor, samples: int, keep: int, generator: torch.Generator
    ) -> Columns:
        """Take the vectors x for which the layer gives W x, bias aside.

        Args:
            module: The layer.
            inputs: What it is called with, float32; of a linear layer of tokens, without those that fill the batch.
            samples: Samples in the batch.
            keep: Places of a sample to take at most, on average; more are drawn from at random.
            generator: Decides that draw, so that the same places can be taken again.

        Returns:
            Vectors (groups, m, columns), and the number of places in all.
        """
        ...


@dataclass(frozen=True)
class LayerType:
    """How layers of one type meet their weight.

    Attributes:
        matches: Whether a module is of this type. A subclass may compute anything: match what is known alone.
        kind: "linear" (channels last, inputs may be tokens), "convolution" (channels first) or "embedding" (rows are
            looked up).
        columns: What the weight's columns are multiplied with; None where rows are looked up.
        weight: The attribute that holds the weight.
        layout: From the weight's shape, how it is cut into rows, one an output.
        groups: Groups of a module, each with rows and inputs of its own.

    Examples:
        >>> import torch
        >>> from momos_compress.networks.layer_types import layer_type_of
        >>> layer_type_of(torch.nn.Linear(3, 2)).kind
        'linear'
    """

    matches: Callable[[nn.Module], bool]
    kind: LayerKind
    columns: ColumnsOf | None
    weight: str = "weight"
    layout: Callable[[tuple[int, ...]], Layout] = row_layout
    groups: Callable[[nn.Module], int] = lambda module: 1


STANDARDISED = ("StdConv2d", "ScaledStdConv2d", "StdConv2dSame", "ScaledStdConv2dSame")
"""timm's convolutions that standardise each row of their weight, which leaves alone what its columns meet."""

PADDED_TO_SIZE = ("Conv2dSame", "Conv2dSameExport")
"""timm's convolutions that pad their inputs by their size."""


def inputs_first(shape: tuple[int, ...]) -> Layout:
    """The layout of a weight (in, out): its transpose is cut into rows."""
    return Layout(math.prod(shape) // shape[0], transposed=True)


def _is_conv1d_of_transformers(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    outputs = getattr(module, "nf", None)
    return type(module).__name__ == "Conv1D" and weight is not None and weight.ndim == 2 and weight.shape[1] == outputs


def _named_convolution(names: tuple[str, ...]) -> Callable[[nn.Module], bool]:
    return lambda module: isinstance(module, (nn.Conv1d, nn.Conv2d)) and type(module).__name__ in names


def _groups(module: nn.Module) -> int:
    assert isinstance(module, (nn.Conv1d, nn.Conv2d))
    return module.groups


def _patches(module: nn.Module, inputs: torch.Tensor, samples: int, keep: int, generator: torch.Generator) -> Columns:
    assert isinstance(module, (nn.Conv1d, nn.Conv2d))
    # timm's standardised convolutions decide on padding by size when they are built.
    same = type(module).__name__ in PADDED_TO_SIZE or (
        type(module).__name__ in STANDARDISED and bool(getattr(module, "same_pad", False))
    )
    return patches(module, inputs, keep, generator, same=same)


def _convolution(matches: Callable[[nn.Module], bool]) -> LayerType:
    return LayerType(matches, "convolution", _patches, groups=_groups)


LAYER_TYPES: dict[str, LayerType] = {
    "Embedding": LayerType(lambda module: isinstance(module, nn.Embedding), "embedding", None),
    "Linear": LayerType(lambda module: isinstance(module, nn.Linear), "linear", linear_columns),
    "Conv1d": _convolution(lambda module: isinstance(module, nn.Conv1d) and type(module).forward is nn.Conv1d.forward),
    "Conv2d": _convolution(lambda module: isinstance(module, nn.Conv2d) and type(module).forward is nn.Conv2d.forward),
    "timm standardised": _convolution(_named_convolution(STANDARDISED)),
    "timm padded to size": _convolution(_named_convolution(PADDED_TO_SIZE)),
    "transformers Conv1D": LayerType(_is_conv1d_of_transformers, "linear", linear_columns, layout=inputs_first),
}
"""Layer types by name; of several that match a module, the one registered last counts."""


def register_layer_type(name: str, layer_type: LayerType) -> None:
    """Add a layer type to ``LAYER_TYPES``; it comes before those that are there.

    Args:
        name: A name for messages and tests.
        layer_type: What it matches, and how it meets its weight.

    Raises:
        ValueError: The name is taken.

    Examples:
        >>> import torch, momos_compress as mc
        >>> class Doubled(torch.nn.Linear):
        ...     def forward(self, x):
        ...         return super().forward(2 * x)
        >>> def columns(module, inputs, samples, keep, generator):
        ...     return 2 * inputs.reshape(1, -1, inputs.shape[-1]), len(inputs)
        >>> mc.register_layer_type("doubled", mc.LayerType(lambda module: type(module) is Doubled, "linear", columns))
        >>> layer_type_of(Doubled(3, 2)) is LAYER_TYPES["doubled"]
        True
        >>> del LAYER_TYPES["doubled"]
    """
    if name in LAYER_TYPES:
        raise ValueError(f"layer type {name!r} is registered already")
    LAYER_TYPES[name] = layer_type


def layer_type_of(module: nn.Module) -> LayerType | None:
    """The type of a module, or None where no type matches."""
    return next((known for known in reversed(LAYER_TYPES.values()) if known.matches(module)), None)
