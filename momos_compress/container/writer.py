"""Writes the container as a stream: one tensor in memory at a time."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from momos_compress.common.atomic import atomic_writer
from momos_compress.container.bundle import BUNDLE_BELOW, arrange, bundle_bytes, deflate
from momos_compress.container.recipe import (
    BUNDLE,
    DIGEST_HEX,
    FORMAT_NAME,
    FORMAT_VERSION,
    RECIPE,
    Recipe,
    checksum,
    recipe_checksum,
)
from momos_compress.errors import MomosError
from momos_compress.sources.checkpoint import DTYPES

SAFETENSORS_NAMES = {dtype: name for name, dtype in DTYPES.items()}


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


def write_container(path: Path, stored: Iterable[StoredTensor], recipe: Recipe, *, bundled: bool | None = None) -> int:
    """Write a MoMos file atomically; returns its size in bytes. MomosError: a reserved name, a full disk.

    bundled: whether small tensors go into a bundle; None: where the indices are coded.
    """
    tensors = list(stored)
    _check_names(tensors)  # before some of them are bundled: the network is exported one day
    names = [tensor.name for tensor in tensors]
    if recipe.coding != "packed" if bundled is None else bundled:
        tensors, recipe = _bundled(tensors, recipe)
        names += [BUNDLE, RECIPE]
    for name in recipe.reserved:
        if names.count(name) > 1:
            raise MomosError(f"a tensor named {name!r} cannot be stored: the name is the format's own; rename it")
    text = recipe.to_metadata()
    last = recipe_checksum(text)

    def metadata(digests: str) -> dict[str, str]:
        entries = {"format": FORMAT_NAME, "format_version": str(FORMAT_VERSION), "recipe": text}
        return entries | {"checksums": digests + last}

    return _write(path, _ordered(tensors), metadata)


def _check_names(tensors: Iterable[StoredTensor]) -> None:
    if any(tensor.name == "__metadata__" for tensor in tensors):
        raise MomosError("a tensor named '__metadata__' cannot be stored: safetensors reserves the name; rename it")


def _bundled(stored: list[StoredTensor], recipe: Recipe) -> tuple[list[StoredTensor], Recipe]:
    """What is left beside the bundle, with it and the deflated recipe, and the recipe that tells of it."""
    small = {tensor.name: tensor for tensor in stored if tensor.nbytes < BUNDLE_BELOW}
    bundle = arrange({name: (SAFETENSORS_NAMES[tensor.dtype], tensor.shape) for name, tensor in small.items()})
    recipe = replace(recipe, bundle=bundle)
    text = deflate(recipe.to_json())
    return [
        *(tensor for tensor in stored if tensor.nbytes >= BUNDLE_BELOW),
        StoredTensor(
            BUNDLE,
            torch.uint8,
            (bundle_bytes(bundle),),
            lambda: (part for name in bundle for part in small[name].data()),
        ),
        StoredTensor(RECIPE, torch.uint8, (len(text),), lambda: [text]),
    ], recipe


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
