"""Which layer of a network a weight belongs to."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from momos_compress.mosaic.blocks import Layout, row_layout
from momos_compress.networks.layer_types import LayerKind, LayerType, layer_type_of
from momos_compress.networks.patches import Columns
from momos_compress.tensors.records import TensorInfo


@dataclass(frozen=True)
class LayerWeight:
    """A weight and its layer.

    Attributes:
        parameter: The weight's name in the checkpoint.
        own_name: Its name in the network.
        module: The layer's name in the network; None where no layer of a known type has it.
        kind: The kind of the layer's type; "other" where there is none.
        layout: How the weight is cut into rows.
        groups: Groups of the layer, each with rows and inputs of its own.
        table: Whether rows of the weight are looked up as well, by another layer that has the same weight.
    """

    parameter: str
    own_name: str
    module: str | None
    kind: LayerKind
    layout: Layout
    groups: int
    table: bool = False


def find_layers(model: nn.Module | None, infos: Iterable[TensorInfo]) -> list[LayerWeight]:
    """Find the layer of each of these tensors, in their order; without a network all are of the kind "other"."""
    owners: dict[str, tuple[str, LayerType, int, bool]] = {} if model is None else _owners(model)
    names = {} if model is None else own_names(model, [info.name for info in infos])
    found = []
    for info in infos:
        own = names.get(info.name, info.name)
        if own in owners:
            module, known, groups, table = owners[own]
            found.append(LayerWeight(info.name, own, module, known.kind, known.layout(info.shape), groups, table))
        else:
            found.append(LayerWeight(info.name, own, None, "other", row_layout(info.shape), 1))
    return found


def own_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Match a checkpoint's names with a network's: files may lack, or add, the base model's prefix.

    Returns:
        Checkpoint name -> the network's name of the same parameter or buffer; a name without a match is not in it.
    """
    own = {name for name, _ in (*model.named_parameters(remove_duplicate=False), *model.named_buffers())}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    out = {}
    for name in names:
        for candidate in (name, prefix + name, name.removeprefix(prefix)):
            if candidate in own:
                out[name] = candidate
                break
    return out


def columns(module: nn.Module, inputs: torch.Tensor, samples: int, keep: int, generator: torch.Generator) -> Columns:
    """Take what a layer's weight is multiplied with, by the layer's type.

    Args:
        module: A layer of a type whose columns are known.
        inputs: What it is called with, float32.
        samples: Samples in the batch.
        keep: Places of a sample to take at most, on average.
        generator: Decides which places.

    Returns:
        Vectors (groups, m, columns), and the number of places in all.

    Raises:
        TypeError: No type matches the module, or one whose rows are looked up.
    """
    known = layer_type_of(module)
    if known is None or known.columns is None:
        raise TypeError(f"{type(module).__name__} multiplies its weight with nothing that is known")
    return known.columns(module, inputs, samples, keep, generator)


def _owners(model: nn.Module) -> dict[str, tuple[str, LayerType, int, bool]]:
    """Parameter -> its layer's name, type and groups, and whether a table shares it.

    A weight that is both a table and an output layer counts as the output layer's, whose inputs are known.
    """
    known = {name: layer_type_of(module) for name, module in model.named_modules(remove_duplicate=False)}
    tables: dict[int, tuple[str, LayerType]] = {}
    outputs: dict[int, tuple[str, LayerType]] = {}
    for name, found in known.items():
        if found is not None and found.kind in ("embedding", "linear"):
            weight = id(getattr(model.get_submodule(name), found.weight))
            (tables if found.kind == "embedding" else outputs)[weight] = name, found
    owners = {}
    for name, found in known.items():
        module, owner = model.get_submodule(name), name
        of_weight = "weight" if found is None else found.weight
        weight = id(getattr(module, of_weight, None))
        if weight in tables:
            owner, found = outputs.get(weight, tables[weight])
        if found is not None:
            groups, shared = found.groups(model.get_submodule(owner)), weight in tables and weight in outputs
            owners[f"{name}.{of_weight}" if name else of_weight] = owner, found, groups, shared
    return owners
