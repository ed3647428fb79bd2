"""What a compressed file will hold: the stored tensors and the recipe."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from momos_compress.coding.protocol import Encoded, Part, Stream
from momos_compress.coding.registry import get_coding
from momos_compress.container import affine8
from momos_compress.container.passthrough import stored_dtype
from momos_compress.container.recipe import CODEBOOK, SCALES, Recipe, part_of, parts_of
from momos_compress.mosaic.blocks import CHUNK_VALUES
from momos_compress.mosaic.mosaic import Mosaic, spool_out
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.settings import Passthrough
from momos_compress.tensors.records import TensorInfo, Tensors
from momos_compress.tensors.safetensors_writer import StoredTensor, tensor_data

SPOOLED_FROM = 2**26
"""Bytes of coded indices that are kept in memory until they are written; more go to a temporary file."""


@dataclass(frozen=True)
class Kept:
    """How the tensors came to be stored. cast, affine8: the own dtypes of tensors beside the mosaic in fewer bits: as
    F16, and in a byte a value. coding: of the indices.
    """

    cast: dict[str, torch.dtype]
    affine8: dict[str, torch.dtype]
    coding: str


def stored_tensors(
    tensors: Tensors,
    mosaic: Mosaic,
    coding: str = "packed",
    *,
    passthrough: Passthrough = "auto",
    replaced: Mapping[str, torch.Tensor] | None = None,
    spool_directory: Path | None = None,
) -> tuple[list[StoredTensor], Kept]:
    """Everything the file will hold, and how.

    tensors: the checkpoint's own; those that are not in the mosaic are stored beside it. replaced: which of them are no
    longer the checkpoint's. spool_directory: where coded
    indices wait to be written, if they are many.
    """

    def read(name: str) -> torch.Tensor:
        return replaced[name] if replaced is not None and name in replaced else tensors.read(name)

    stored = [_in_memory(CODEBOOK, mosaic.codebook)]
    if mosaic.scales is not None:
        stored.append(_in_memory(SCALES, mosaic.scales))
    least, most = get_coding(coding).motifs
    # What the coding cannot tell apart, or has no room for, is packed.
    encoded = get_coding(coding if least <= mosaic.k <= most else "packed").encode(MosaicIndices(mosaic))
    stored += [_of_bytes(name, data) for name, data in encoded.tables.items()]
    stored += _streams(encoded, mosaic, spool_directory)
    kept = Kept({}, {}, encoded.coding)
    extended = coding != "packed" or mosaic.scales is not None or mosaic.step is not None
    eight_bits = extended and passthrough == "auto"
    # A tensor of bytes that is no vector in disguise keeps the others from being called "all".
    eight_bits &= not any(info.dtype == torch.uint8 for info in tensors.infos)
    compressed = {tensor.name for tensor in mosaic.tensors}
    for info in tensors.infos:
        if info.name in compressed:
            continue
        own = read(info.name)
        codes = affine8.encode(own) if eight_bits and info.dtype in affine8.DTYPES else None
        dtype = stored_dtype(own, passthrough)
        if codes is not None:
            kept.affine8[info.name] = info.dtype
            stored.append(_in_memory(info.name, codes))
            continue
        if dtype == torch.float16:
            kept.cast[info.name] = info.dtype
        stored.append(_passed_through(read, info, dtype))
    return stored, kept


@dataclass(frozen=True)
class MosaicIndices:
    """A mosaic's indices as a coding reads them."""

    mosaic: Mosaic

    @property
    def k(self) -> int:
        """Number of motifs."""
        return self.mosaic.k

    @property
    def usage(self) -> np.ndarray:
        """Blocks of each motif: (k,)."""
        return self.mosaic.usage

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The compressed parameters in the file's order."""
        return parts_of(self.mosaic.tensors)

    def read(self, name: str, *, backwards: bool = False) -> Iterator[np.ndarray]:
        """The indices of one parameter in pieces; backwards: the last piece first."""
        return self.mosaic.indices(self._tensors[name], backwards=backwards)

    @cached_property
    def _tensors(self) -> dict[str, CompressedTensor]:
        return {tensor.name: tensor for tensor in self.mosaic.tensors}


def _streams(encoded: Encoded, mosaic: Mosaic, spool_directory: Path | None) -> list[StoredTensor]:
    """One stored stream a parameter, guard byte included (docs/format.md).

    A stream whose length is only known once it is coded waits in a temporary file.
    """
    directory = None if spool_directory is None else str(spool_directory)
    spool = tempfile.SpooledTemporaryFile(SPOOLED_FROM, dir=directory)  # noqa: SIM115  the tensors keep it
    stored, offset = [], 0
    for tensor in mosaic.tensors:
        stream = encoded.stream(part_of(tensor))
        if stream.size is not None:
            guard = tensor.guarded(stream.size) - stream.size
            data: Callable[[], Iterable[bytes]] = partial(_guarded, stream, guard)
            size = stream.size + guard
        else:
            size = sum(_spool(spool, part) for part in stream.data())
            size += _spool(spool, bytes(tensor.guarded(size) - size))
            data = partial(_spooled, spool, offset, size)
            offset += size
        stored.append(StoredTensor(tensor.name, torch.uint8, (size,), data))
    return stored


def _spool(spool: IO[bytes], data: bytes) -> int:
    spool_out(spool, data)
    return len(data)


def _guarded(stream: Stream, guard: int) -> Iterator[bytes]:
    yield from stream.data()
    yield bytes(guard)


def _spooled(spool: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    for start in range(0, size, CHUNK_VALUES):
        spool.seek(offset + start)
        yield spool.read(min(CHUNK_VALUES, size - start))


def _of_bytes(name: str, data: bytes) -> StoredTensor:
    return StoredTensor(name, torch.uint8, (len(data),), lambda: [data])


def _in_memory(name: str, tensor: torch.Tensor) -> StoredTensor:
    return StoredTensor(name, tensor.dtype, tuple(tensor.shape), lambda: [tensor_data(tensor)])


def _passed_through(read: Callable[[str], torch.Tensor], info: TensorInfo, dtype: torch.dtype) -> StoredTensor:
    return StoredTensor(info.name, dtype, info.shape, lambda: [tensor_data(read(info.name).to(dtype))])


def recipe_of(mosaic: Mosaic, kept: Kept, *, aliases: Mapping[str, str], extra: Mapping[str, Any]) -> Recipe:
    """The recipe of a mosaic and of what is stored beside it (docs/format.md).

    aliases: names that share a stored tensor. extra: what the recipe tells of where the mosaic came from.
    """
    return Recipe(
        s=mosaic.codebook.shape[1],
        k=mosaic.k,
        blocks=mosaic.blocks,
        distortion=mosaic.distortion,
        energy=mosaic.energy,
        tensors={tensor.name: tensor for tensor in mosaic.tensors},
        cast=kept.cast,
        affine8=kept.affine8,
        aliases=aliases,
        extra=extra,
        codebook_step=mosaic.step,
        coding=kept.coding,
    )
