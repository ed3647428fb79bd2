"""A compressed file as a checkpoint."""

from momos_compress.container.reader import MomosFile
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import TensorInfo, Tensors


def checkpoint_of(file: MomosFile) -> Checkpoint:
    """The tensors that a compressed file decodes to, as a checkpoint without an architecture."""
    names = [name for name in file if name not in file.recipe.aliases]
    infos = []
    for name in names:
        dtype, shape = file.recipe.own(name, file.entries[name])
        infos.append(TensorInfo(name, shape, dtype))
    return Checkpoint(
        source=str(file.path),
        name=file.path.name,
        tensors=Tensors(tuple(infos), file.get, file.recipe.aliases),
        source_bytes=file.path.stat().st_size,
        provenance=dict(file.recipe.extra.get("source") or {}),
    )
