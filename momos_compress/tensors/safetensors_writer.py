"""Writes safetensors files as a stream, one tensor in memory at a time, with a digest of each."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from momos_compress.common.atomic import atomic_writer
from momos_compress.errors import MomosError
from momos_compress.tensors.dtypes import SAFETENSORS_NAMES

DIGEST_HEX = 16


def checksum(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    """The running BLAKE2b digest of a stored tensor, fed with its entry; its data follow."""
    return hashlib.blake2b(f"{name}\n{dtype}\n{','.join(map(str, shape))}\n".encode(), digest_size=DIGEST_HEX // 2)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor to be written: its entry, and a function that yields its data when its turn comes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    data: Callable[[], Iterable[bytes]]

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes."""
        return self.dtype.itemsize * math.prod(self.shape)


def tensor_data(tensor: torch.Tensor) -> bytes:
    """The tensor's values as little-endian bytes in row-major order."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def _check_names(tensors: Iterable[StoredTensor]) -> None:
    if any(tensor.name == "__metadata__" for tensor in tensors):
        raise MomosError("a tensor named '__metadata__' cannot be stored: safetensors reserves the name; rename it")


def write_safetensors(path: Path, stored: Iterable[StoredTensor], metadata: Mapping[str, str]) -> int:
    """Write a plain safetensors file atomically and as a stream; returns its size in bytes."""
    return _write(path, _ordered(stored), lambda digests: dict(metadata))


def _ordered(stored: Iterable[StoredTensor]) -> list[StoredTensor]:
    """Falling item size, then name: every tensor is aligned to its item size, as safetensors' own writer does it."""
    ordered = sorted(stored, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))
    _check_names(ordered)
    return ordered


def _write(path: Path, ordered: list[StoredTensor], metadata: Callable[[str], dict[str, str]]) -> int:
    with atomic_writer(path) as file:
        # Checksums stand before the data and are known after them; their length is known from the start.
        file.write(_header(ordered, metadata("0" * DIGEST_HEX * len(ordered))))
        found = []
        for tensor in ordered:
            digest = checksum(tensor.name, SAFETENSORS_NAMES[tensor.dtype], tensor.shape)
            written = 0
            for part in tensor.data():
                digest.update(part)
                written += file.write(part)
            if written != tensor.nbytes:
                raise MomosError(f"{tensor.name}: {written} bytes where its entry says {tensor.nbytes}")
            found.append(digest.hexdigest())
        file.seek(0)
        file.write(_header(ordered, metadata("".join(found))))
    return path.stat().st_size


def _header(ordered: list[StoredTensor], metadata: dict[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for tensor in ordered:
        entries[tensor.name] = {
            "dtype": SAFETENSORS_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
