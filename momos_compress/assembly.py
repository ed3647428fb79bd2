"""What a compressed file will hold: the stored tensors and the recipe."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from momos_compress.checkpoint import Checkpoint, TensorInfo
from momos_compress.container import CODEBOOK, SCALES, CompressedTensor, Recipe
from momos_compress.mosaic import Mosaic
from momos_compress.packing import index_bits, pack
from momos_compress.passthrough import stored_dtype
from momos_compress.plan import Plan
from momos_compress.writer import StoredTensor, tensor_data


def stored_tensors(
    checkpoint: Checkpoint, work: Plan, mosaic: Mosaic, replaced: Mapping[str, torch.Tensor]
) -> tuple[list[StoredTensor], dict[str, torch.dtype]]:
    """Everything the file will hold, and the original dtypes of what is stored in half precision.

    replaced: tensors stored beside the mosaic that are no longer the checkpoint's own.
    """

    def read(name: str) -> torch.Tensor:
        return replaced[name] if name in replaced else checkpoint.read(name)

    stored = [_in_memory(CODEBOOK, mosaic.codebook)]
    if mosaic.scales is not None:
        stored.append(_in_memory(SCALES, mosaic.scales))
    for tensor in mosaic.tensors:
        shape = (tensor.stored_bytes(mosaic.k),)
        stored.append(StoredTensor(tensor.name, torch.uint8, shape, partial(packed, mosaic, tensor)))
    cast: dict[str, torch.dtype] = {}
    for info in checkpoint.tensors.infos:
        if info.name in work.selection.left_out:
            dtype = stored_dtype(read(info.name), work.settings.passthrough)
            if dtype == torch.float16:
                cast[info.name] = info.dtype
            stored.append(_passed_through(read, info, dtype))
    return stored, cast


def packed(mosaic: Mosaic, tensor: CompressedTensor) -> Iterator[bytes]:
    """The stored form of one parameter's indices, guard byte included (docs/format.md)."""
    bits, written = index_bits(mosaic.k), 0
    for indices in mosaic.indices(tensor):
        part = pack(indices, bits)
        written += len(part)
        yield part
    yield bytes(tensor.stored_bytes(mosaic.k) - written)


def _in_memory(name: str, tensor: torch.Tensor) -> StoredTensor:
    return StoredTensor(name, tensor.dtype, tuple(tensor.shape), lambda: [tensor_data(tensor)])


def _passed_through(read: Callable[[str], torch.Tensor], info: TensorInfo, dtype: torch.dtype) -> StoredTensor:
    return StoredTensor(info.name, dtype, info.shape, lambda: [tensor_data(read(info.name).to(dtype))])


def recipe_of(checkpoint: Checkpoint, work: Plan, mosaic: Mosaic, cast: Mapping[str, torch.dtype]) -> Recipe:
    """The recipe of a projected checkpoint (docs/format.md)."""
    settings = work.settings
    extra = {
        "capacity": settings.c,
        "k_requested": work.k,
        "method": settings.method,
        "protocol": settings.protocol,
        "seed": settings.seed,
        "zero_motif": settings.zero_motif,
        "source": checkpoint.provenance,
        "architecture": checkpoint.architecture.to_json() if checkpoint.architecture else None,
        "versions": {name: importlib.metadata.version(name) for name in ("momos-compress", "torch", "numpy")},
    }
    return Recipe(
        s=settings.s,
        k=mosaic.k,
        blocks=mosaic.blocks,
        distortion=mosaic.distortion,
        energy=mosaic.energy,
        tensors={tensor.name: tensor for tensor in mosaic.tensors},
        cast=cast,
        aliases=checkpoint.tensors.aliases,
        extra=extra,
        codebook_step=mosaic.step,
    )
