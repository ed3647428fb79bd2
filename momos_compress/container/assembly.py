"""Puts together what a compressed file will hold: stored tensors and recipe."""

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
from momos_compress.container.recipe import CODEBOOK, COLUMNS, SCALES, Recipe, part_of, parts_of
from momos_compress.mosaic.blocks import CHUNK_VALUES
from momos_compress.mosaic.mosaic import Mosaic, spool_out
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.settings import Passthrough
from momos_compress.tensors.records import TensorInfo, Tensors
from momos_compress.tensors.safetensors_writer import StoredTensor, tensor_data

SPOOLED_FROM = 2**26
"""Most bytes of coded indices that wait in memory to be written; more go to a temporary file."""


@dataclass(frozen=True)
class Kept:
    """How tensors were stored, which the recipe records.

    Attributes:
        cast: Name of each tensor stored in float16 -> its own dtype.
        affine8: Name of each vector stored in a byte a value -> its own dtype.
        coding: The coding of the indices that was used.
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
    """List the tensors of the file: codebook, scales, coded indices, and what is stored beside the mosaic.

    Args:
        tensors: The checkpoint's tensors.
        mosaic: The compressed parameters; all other tensors are stored beside them.
        coding: The coding of the indices; files whose k it does not take are packed.
        passthrough: Whether tensors beside the mosaic may be stored in fewer bits (``auto``) or stay as they are.
        replaced: Tensors that take the place of the checkpoint's, by name.
        spool_directory: Where many coded indices wait to be written; None leaves the choice to the system.

    Returns:
        The stored tensors, and how they were stored.

    Raises:
        MomosError: There is no room for the coded indices.
    """

    def read(name: str) -> torch.Tensor:
        return replaced[name] if replaced is not None and name in replaced else tensors.read(name)

    stored = [_in_memory(CODEBOOK, mosaic.codebook)]
    if mosaic.scales is not None:
        stored.append(_in_memory(SCALES, mosaic.scales))
    if mosaic.columns is not None:
        stored.append(_in_memory(COLUMNS, mosaic.columns))
    least, most = get_coding(coding).motifs
    encoded = get_coding(coding if least <= mosaic.k <= most else "packed").encode(MosaicIndices(mosaic))
    stored += [_of_bytes(name, data) for name, data in encoded.tables.items()]
    stored += _streams(encoded, mosaic, spool_directory)
    kept = Kept({}, {}, encoded.coding)
    extended = coding != "packed" or mosaic.scales is not None or mosaic.step is not None
    eight_bits = extended and passthrough == "auto"
    # A recipe lists these as "all vectors of bytes", among which the checkpoint's own bytes would be counted.
    eight_bits &= not any(info.dtype == torch.uint8 for info in tensors.infos)
    compressed = {tensor.name for tensor in mosaic.tensors}
    for info in tensors.infos:
        if info.name in compressed:
            continue
        own = read(info.name)
        codes = affine8.encode(own) if eight_bits and info.dtype in affine8.ENCODABLE else None
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
    """A mosaic as the ``Indices`` that a coding reads."""

    mosaic: Mosaic

    @property
    def k(self) -> int:
        """Number of motifs."""
        return self.mosaic.k

    @property
    def usage(self) -> np.ndarray:
        """Number of blocks of each motif, (k,) int64."""
        return self.mosaic.usage

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The compressed parameters in block order."""
        return parts_of(self.mosaic.tensors)

    def read(self, name: str, *, backwards: bool = False) -> Iterator[np.ndarray]:
        """Read the indices of one parameter in pieces, the last piece first where ``backwards``."""
        return self.mosaic.indices(self._tensors[name], backwards=backwards)

    @cached_property
    def _tensors(self) -> dict[str, CompressedTensor]:
        return {tensor.name: tensor for tensor in self.mosaic.tensors}


def _streams(encoded: Encoded, mosaic: Mosaic, spool_directory: Path | None) -> list[StoredTensor]:
    """The stored stream of each parameter, with its guard byte where it needs one (docs/format.md).

    The header stands first in a file, so a stream whose length is unknown before it is coded waits in a temporary file.
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
    """Make the recipe of a file (docs/format.md).

    Args:
        mosaic: The compressed parameters.
        kept: How tensors were stored.
        aliases: Further name of a stored tensor -> its name.
        extra: Descriptive entries, which do not change how the file decodes.
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
