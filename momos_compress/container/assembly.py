"""What a compressed file will hold: the stored tensors and the recipe."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from momos_compress.coding.ans import MAX_ANS_MOTIFS, IndexModel, read_counts, store_counts
from momos_compress.coding.classes import ClassCoder, find_classes
from momos_compress.coding.packed import index_bits, pack, packed_bytes
from momos_compress.container import affine8
from momos_compress.container.passthrough import stored_dtype
from momos_compress.container.recipe import CLASSES, CODEBOOK, COUNTS, SCALES, Recipe, grids_of
from momos_compress.mosaic.blocks import CHUNK_VALUES
from momos_compress.mosaic.mosaic import Mosaic, spool_out
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.settings import Coding, Passthrough
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
    coding: Coding


def stored_tensors(
    tensors: Tensors,
    mosaic: Mosaic,
    coding: Coding = "packed",
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
    kept = Kept({}, {}, "packed")
    # One motif has nothing to tell apart, and too many leave a model's 24 bits no room: both are packed.
    if coding != "packed" and 2 <= mosaic.k <= MAX_ANS_MOTIFS:
        coded, found = _coded(mosaic, spool_directory, classed=coding == "classes")
        stored += coded
        kept = replace(kept, coding=found)
    else:
        for tensor in mosaic.tensors:
            shape = (tensor.guarded(packed_bytes(tensor.blocks, index_bits(mosaic.k))),)
            stored.append(StoredTensor(tensor.name, torch.uint8, shape, partial(packed, mosaic, tensor)))
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


def packed(mosaic: Mosaic, tensor: CompressedTensor) -> Iterator[bytes]:
    """The stored form of one parameter's indices, guard byte included (docs/format.md)."""
    bits, size = index_bits(mosaic.k), packed_bytes(tensor.blocks, index_bits(mosaic.k))
    for indices in mosaic.indices(tensor):
        yield pack(indices, bits)
    yield bytes(tensor.guarded(size) - size)


def _coded(mosaic: Mosaic, spool_directory: Path | None, *, classed: bool) -> tuple[list[StoredTensor], Coding]:
    """What decodes the indices, and one stream a parameter: their lengths are known once they are coded.

    classed: by classes of rows and columns, where that saves anything.
    """
    data = store_counts(mosaic.usage)
    counts = read_counts(data, mosaic.k)
    stored = [_of_bytes(COUNTS, data)]
    model, grids, by_class = IndexModel(counts), grids_of(mosaic.tensors), None
    if classed:
        tensors = {tensor.name: tensor for tensor in mosaic.tensors}

        def read(name: str) -> np.ndarray:
            return np.concatenate(list(mosaic.indices(tensors[name])))

        classes = find_classes(grids, counts, mosaic.usage, read)
        if classes is not None:
            stored.append(_of_bytes(CLASSES, classes.to_bytes()))
            by_class = ClassCoder(counts, classes)
    directory = None if spool_directory is None else str(spool_directory)
    spool = tempfile.SpooledTemporaryFile(SPOOLED_FROM, dir=directory)  # noqa: SIM115  the tensors keep it
    offset = 0
    for tensor in mosaic.tensors:
        if by_class is not None and tensor.name in grids:
            data = by_class.encode(tensor.name, read(tensor.name))
        else:
            data = model.encode(mosaic.indices(tensor, backwards=True), tensor.blocks)
        data = data.ljust(tensor.guarded(len(data)), b"\0")
        spool_out(spool, data)
        stored.append(StoredTensor(tensor.name, torch.uint8, (len(data),), partial(_spooled, spool, offset, len(data))))
        offset += len(data)
    return stored, "ans" if by_class is None else "classes"


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
