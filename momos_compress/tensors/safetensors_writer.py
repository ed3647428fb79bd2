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
"""Hexadecimal digits of a checksum: 8 bytes of BLAKE2b."""


def checksum(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    """Begin the BLAKE2b digest of a stored tensor with its entry; the caller adds the data by ``update``."""
    return hashlib.blake2b(f"{name}\n{dtype}\n{','.join(map(str, shape))}\n".encode(), digest_size=DIGEST_HEX // 2)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor to be written.

    Attributes:
        name: Its name in the file.
        dtype: The dtype it is stored in.
        shape: Its shape as stored.
        data: Gives its bytes in pieces, ``nbytes`` in all, when its turn to be written comes.
    """

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


def check_names(tensors: Iterable[StoredTensor]) -> None:
    """Refuse the one name that safetensors files keep for themselves.

    Raises:
        MomosError: A tensor has it.
    """
    if any(tensor.name == "__metadata__" for tensor in tensors):
        raise MomosError("a tensor named '__metadata__' cannot be stored: safetensors reserves the name; rename it")


def write_safetensors(path: Path, stored: Iterable[StoredTensor], metadata: Mapping[str, str]) -> int:
    """Write a plain safetensors file, one tensor in memory at a time; it appears whole or not at all.

    Args:
        path: The file to write.
        stored: The tensors, in any order.
        metadata: Text beside them in the header.

    Returns:
        Size of the file in bytes.

    Raises:
        MomosError: The file cannot be written, or a tensor has a reserved name.
    """
    return write_ordered(path, in_file_order(stored), lambda digests: dict(metadata))


def in_file_order(stored: Iterable[StoredTensor]) -> list[StoredTensor]:
    """Sort tensors by falling item size, then name, as safetensors does, so that each is aligned to its item size.

    Raises:
        MomosError: A tensor has a reserved name.
    """
    ordered = sorted(stored, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))
    check_names(ordered)
    return ordered


def write_ordered(path: Path, ordered: list[StoredTensor], metadata: Callable[[str], dict[str, str]]) -> int:
    """Write tensors whose order is settled, and a header that may hold their checksums.

    Args:
        path: The file to write.
        ordered: The tensors in file order.
        metadata: From all checksums, joined in file order, to the header's text, whose length may not depend on them.

    Returns:
        Size of the file in bytes.

    Raises:
        MomosError: The file cannot be written, or a tensor's data are not as long as its entry says.
    """
    with atomic_writer(path) as file:
        # Checksums stand before the data but are known only after them: zeros hold their place until then.
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
