"""A set of named tensors: their entries, and a function that reads one of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from momos_compress.errors import SourceError
from momos_compress.tensors.dtypes import DTYPES


@dataclass(frozen=True)
class TensorInfo:
    """Name, shape and dtype of one stored tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def values(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes at this dtype."""
        return self.values * self.dtype.itemsize


@dataclass(frozen=True)
class Tensors:
    """Tensors that are read one at a time.

    Attributes:
        infos: Name, shape and dtype of each, aliases left out.
        read: From a name in ``infos`` to the tensor.
        aliases: Further name -> the name in ``infos`` whose tensor it shares.
        metadata: Text that the file holds beside its tensors.
    """

    infos: tuple[TensorInfo, ...]
    read: Callable[[str], torch.Tensor]
    aliases: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


def from_state_dict(state: Mapping[str, torch.Tensor]) -> Tensors:
    """Wrap tensors that are held in memory.

    Args:
        state: Name -> tensor. Names whose tensors share storage, offset, shape, strides and dtype become aliases of the
            first of them.

    Raises:
        SourceError: A tensor has no data, is not dense, or has a dtype or a name that safetensors cannot store.
    """
    first: dict[tuple[Any, ...], str] = {}
    aliases: dict[str, str] = {}
    infos = []
    for name, tensor in state.items():
        _check_kind(name, tensor)
        key = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
        )
        original = first.setdefault(key, name) if tensor.numel() else name
        if original != name:
            aliases[name] = original
        else:
            infos.append(TensorInfo(name, tuple(tensor.shape), tensor.dtype))
    return Tensors(tuple(infos), lambda name: state[name].detach(), aliases)


def _check_kind(name: str, tensor: torch.Tensor) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise SourceError(f"a tensor has the name {ascii(name)[:80]}, which is no Unicode text; rename it") from error
    what = None
    if tensor.is_meta:
        what = "has no data (it is on the meta device)"
    elif tensor.layout != torch.strided:
        what = f"is {str(tensor.layout).removeprefix('torch.')}, not dense"
    elif tensor.dtype not in DTYPES.values():
        what = f"has the dtype {str(tensor.dtype).removeprefix('torch.')}, which safetensors cannot store"
    if what is not None:
        raise SourceError(f"{name} {list(tensor.shape)} {what}; convert it first")
