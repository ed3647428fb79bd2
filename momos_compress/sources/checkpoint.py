"""A checkpoint: a lazily read sequence of named tensors, with where they came from.

Nothing here knows of hubs or architectures' libraries: ``sources`` finds files and builds these records.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from momos_compress.errors import SourceError
from momos_compress.sources.architecture import Architecture

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64,
}  # fmt: skip
"""safetensors' dtype names and torch's dtypes."""


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
    """Tensors that are read one at a time: what there is, how to read one, and which names share one tensor."""

    infos: tuple[TensorInfo, ...]
    read: Callable[[str], torch.Tensor]
    aliases: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """Weights to work on.

    parameters: names of the trainable parameters in ``model.parameters()`` order; None where no architecture is known.
    buffers: names that the architecture holds as buffers.
    source_bytes: size of the files the weights came from (or of the tensors, where there is no file).
    """

    source: str
    name: str
    tensors: Tensors
    source_bytes: int
    provenance: dict[str, Any]
    architecture: Architecture | None = None
    parameters: tuple[str, ...] | None = None
    buffers: frozenset[str] = frozenset()
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    def read(self, name: str) -> torch.Tensor:
        """The tensor stored under ``name``."""
        return self.tensors.read(name)

    def with_warning(self, message: str) -> "Checkpoint":
        """The same checkpoint with one more warning."""
        return replace(self, warnings=(*self.warnings, message))


def from_state_dict(state: Mapping[str, torch.Tensor]) -> Tensors:
    """Tensors held in memory. Names that share one storage, offset, shape and strides become aliases of the first."""
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


def describe_files(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Name, size in bytes and SHA-256 of each file, for the provenance."""
    described = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
        described.append({"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()})
    return described


def _digest(file: Any) -> Any:
    digest = hashlib.sha256()
    while part := file.read(2**20):
        digest.update(part)
    return digest
