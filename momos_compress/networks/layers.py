"""Which layer of a network a weight belongs to, and how that layer's inputs meet the weight's columns."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from momos_compress.mosaic.blocks import Layout, row_layout
from momos_compress.tensors.records import TensorInfo

Kind = Literal["linear", "convolution", "embedding", "other"]
Pair = tuple[int, int]


@dataclass(frozen=True)
class LayerWeight:
    """A weight and its layer.

    parameter: the weight's name in the checkpoint. own_name: in the network. module: the layer's name there, None where
    no layer of a known kind has it. groups: of a grouped convolution, each with rows and inputs of its own.
    """

    parameter: str
    own_name: str
    module: str | None
    kind: Kind
    layout: Layout
    groups: int


def find_layers(model: nn.Module | None, infos: Iterable[TensorInfo]) -> list[LayerWeight]:
    """The layer of each of these tensors, in their order. Without a network all are of the kind "other"."""
    owners: dict[str, tuple[str, Kind, bool, int]] = {} if model is None else _owners(model)
    names = {} if model is None else own_names(model, [info.name for info in infos])
    found = []
    for info in infos:
        own = names.get(info.name, info.name)
        unknown: tuple[None, Kind, bool, int] = (None, "other", False, 1)
        module, kind, transposed, groups = owners.get(own, unknown)
        layout = row_layout(info.shape)
        if transposed:
            layout = Layout(math.prod(info.shape) // info.shape[0], transposed=True)
        found.append(LayerWeight(info.name, own, module, kind, layout, groups))
    return found


def own_names(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Checkpoint name -> the network's name of the same tensor: files may lack, or add, the base model's prefix."""
    own = {name for name, _ in (*model.named_parameters(remove_duplicate=False), *model.named_buffers())}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    out = {}
    for name in names:
        for candidate in (name, prefix + name, name.removeprefix(prefix)):
            if candidate in own:
                out[name] = candidate
                break
    return out


def _owners(model: nn.Module) -> dict[str, tuple[str, Kind, bool, int]]:
    owners: dict[str, tuple[str, Kind, bool, int]] = {}
    # A table that is an output layer as well is read row by row, so an error costs the same in every direction.
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, module in model.named_modules(remove_duplicate=False):
        parameter = f"{name}.weight" if name else "weight"
        if id(getattr(module, "weight", None)) in tables:
            owners[parameter] = (name, "embedding", False, 1)
        elif isinstance(module, nn.Linear):
            owners[parameter] = (name, "linear", False, 1)
        elif isinstance(module, (nn.Conv1d, nn.Conv2d)) and _slides(module):
            owners[parameter] = (name, "convolution", False, module.groups)
        elif _keeps_inputs_first(module):
            owners[parameter] = (name, "linear", True, 1)
    return owners


STANDARDISED = ("StdConv2d", "ScaledStdConv2d", "StdConv2dSame", "ScaledStdConv2dSame")
"""timm's convolutions that standardise each row of their weight, which leaves alone what its columns meet."""
PADDED_TO_SIZE = ("Conv2dSame", "Conv2dSameExport")


def _slides(module: nn.Module) -> bool:
    """Whether ``columns`` knows what a convolution does with its input: a subclass may do anything."""
    own = type(module).forward in (nn.Conv1d.forward, nn.Conv2d.forward)
    return own or type(module).__name__ in (*STANDARDISED, *PADDED_TO_SIZE)


def _keeps_inputs_first(module: nn.Module) -> bool:
    """GPT-2's Conv1D of transformers: a linear layer whose weight is (in, out)."""
    weight = getattr(module, "weight", None)
    outputs = getattr(module, "nf", None)
    return type(module).__name__ == "Conv1D" and weight is not None and weight.ndim == 2 and weight.shape[1] == outputs


def columns(
    module: nn.Module, inputs: torch.Tensor, samples: int, keep: int, generator: torch.Generator
) -> tuple[torch.Tensor, int]:
    """What the weight's columns are multiplied with: (groups, m, columns), and at how many places in all.

    keep: of so many places at most a sample, drawn at random.
    """
    if not isinstance(module, (nn.Conv1d, nn.Conv2d)):
        places = math.prod(inputs.shape[:-1])
        flat = inputs.reshape(places, inputs.shape[-1])
        most = keep * samples
        if places > most:
            flat = flat[torch.randperm(places, generator=generator)[:most].to(flat.device)]
        return flat[None], places
    if isinstance(module, nn.Conv1d):
        inputs = inputs[:, :, None]
    kernel, stride, dilation = (_pair(size, 1) for size in (module.kernel_size, module.stride, module.dilation))
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padded = functional.pad(inputs, _padding(module, inputs, kernel, stride, dilation), mode=mode)
    high, wide = (
        (size - d * (k - 1) - 1) // step + 1
        for size, k, d, step in zip(padded.shape[2:], kernel, dilation, stride, strict=True)
    )
    at = torch.arange(high * wide)
    if len(at) > keep:
        at = torch.randperm(len(at), generator=generator)[:keep]
    down_at, right_at = (at // wide * stride[0]).to(inputs.device), (at % wide * stride[1]).to(inputs.device)
    taps = [
        padded[:, :, down_at + i * dilation[0], right_at + j * dilation[1]]
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    # (n, channels, places, taps) -> (groups, n places, channels of the group, taps)
    patches = torch.stack(taps, dim=-1)
    n, channels, places, size = patches.shape
    grouped = patches.reshape(n, module.groups, channels // module.groups, places, size)
    return grouped.permute(1, 0, 3, 2, 4).reshape(module.groups, n * places, -1), n * high * wide


def _padding(
    module: nn.Conv1d | nn.Conv2d, inputs: torch.Tensor, kernel: Pair, stride: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    """Left, right, above and below."""
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if getattr(module, "same_pad", type(module).__name__ in PADDED_TO_SIZE):
        # TensorFlow's way: as much as an output at every stride-th place needs.
        sizes = zip(inputs.shape[2:], stride, reach, strict=True)
        total = [max((-(-size // step) - 1) * step + far + 1 - size, 0) for size, step, far in sizes]
    elif isinstance(module.padding, str):
        total = reach if module.padding == "same" else [0, 0]
    else:
        down, right = _pair(module.padding, 0)
        return (right, right, down, down)
    return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)


def _pair(size: int | tuple[int, ...], above: int) -> Pair:
    """Sizes along height and width; above: along the height that a Conv1d does not have."""
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    return (above, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
