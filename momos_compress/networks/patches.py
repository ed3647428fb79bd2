"""What a convolution's weight is multiplied with: patches of its inputs (im2col)."""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

Pair = tuple[int, int]
Convolution = nn.Conv1d | nn.Conv2d


class Columns(NamedTuple):
    """What a weight's columns are multiplied with.

    Attributes:
        vectors: (groups, m, columns), for m places that were drawn.
        places: Number of places in all, m or more.
    """

    vectors: torch.Tensor
    places: int


def linear_columns(
    module: nn.Module, inputs: torch.Tensor, samples: int, keep: int, generator: torch.Generator
) -> Columns:
    """The inputs (..., columns) of a linear layer themselves, at ``keep * samples`` places at most, in their order."""
    places = math.prod(inputs.shape[:-1])
    flat = inputs.reshape(places, inputs.shape[-1])
    most = keep * samples
    if places > most:
        drawn = torch.randperm(places, generator=generator)[:most]
        flat = flat[drawn.sort().values.to(flat.device)]
    return Columns(flat[None], places)


def patches(
    module: Convolution, inputs: torch.Tensor, keep: int, generator: torch.Generator, *, same: bool = False
) -> Columns:
    """Cut the patches that a convolution's weight meets, at the same places of every sample.

    Args:
        module: The convolution: kernel, stride, padding, dilation and groups.
        inputs: (n, channels, length) of a Conv1d or (n, channels, height, width) of a Conv2d.
        keep: Places of a sample to cut at most; more are drawn from at random.
        generator: Decides that draw.
        same: Whether padding follows the inputs' size, as TensorFlow's does, whatever the module's own says.

    Returns:
        Vectors (groups, n m, channels of a group times taps), in the order of the flattened weight's columns.
    """
    if isinstance(module, nn.Conv1d):
        inputs = inputs[:, :, None]
    kernel, stride, dilation = (_pair(size, 1) for size in (module.kernel_size, module.stride, module.dilation))
    reach = (dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1))
    around = _same_padding(inputs, stride, reach) if same else _own_padding(module, reach)
    if module.padding_mode != "zeros":
        inputs, around = functional.pad(inputs, around, mode=module.padding_mode), (0, 0, 0, 0)
    left, right, above, below = around
    height, width = inputs.shape[2:]
    high = (height + above + below - reach[0] - 1) // stride[0] + 1
    wide = (width + left + right - reach[1] - 1) // stride[1] + 1
    at = torch.arange(high * wide)
    if len(at) > keep:
        at = torch.randperm(len(at), generator=generator)[:keep]
    # Where each tap of each place lies: (places, taps). Only these values are read, whatever the inputs' size.
    down = (at // wide * stride[0] - above)[:, None] + dilation[0] * torch.arange(kernel[0]).repeat_interleave(
        kernel[1]
    )
    along = (at % wide * stride[1] - left)[:, None] + dilation[1] * torch.arange(kernel[1]).repeat(kernel[0])
    outside = (down < 0) | (down >= height) | (along < 0) | (along >= width)
    down, along = (each.clamp(0, size - 1).to(inputs.device) for each, size in ((down, height), (along, width)))
    cut = inputs[:, :, down, along]
    if bool(outside.any()):
        cut = cut.masked_fill(outside.to(inputs.device), 0.0)
    # (n, channels, places, taps) -> (groups, n places, channels of the group, taps)
    n, channels, places, size = cut.shape
    grouped = cut.reshape(n, module.groups, channels // module.groups, places, size)
    vectors = grouped.permute(1, 0, 3, 2, 4).reshape(module.groups, n * places, -1)
    return Columns(vectors, n * high * wide)


def _own_padding(module: Convolution, reach: Pair) -> tuple[int, int, int, int]:
    """Left, right, above and below, as the module's own setting has it."""
    if isinstance(module.padding, str):
        return _halved(reach if module.padding == "same" else (0, 0))
    down, right = _pair(module.padding, 0)
    return (right, right, down, down)


def _same_padding(inputs: torch.Tensor, stride: Pair, reach: Pair) -> tuple[int, int, int, int]:
    """Left, right, above and below: as much as an output at every stride-th place needs."""
    down, right = (
        max((-(-size // step) - 1) * step + far + 1 - size, 0)
        for size, step, far in zip(inputs.shape[2:], stride, reach, strict=True)
    )
    return _halved((down, right))


def _halved(total: Pair) -> tuple[int, int, int, int]:
    """Left, right, above and below; an odd value more goes to the right and below."""
    return (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)


def _pair(size: int | tuple[int, ...], above: int) -> Pair:
    """Sizes along height and width; ``above`` along the height that a Conv1d does not have."""
    sizes = (size, size) if isinstance(size, int) else tuple(size)
    return (above, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
