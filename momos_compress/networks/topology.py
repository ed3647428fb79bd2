"""The topology of each layer of a checkpoint or of a compressed file."""

from collections.abc import Iterator
from dataclasses import replace

from momos_compress.container.reader import MomosFile
from momos_compress.measures.topology import LayerTopology, layer_topology
from momos_compress.sources.checkpoint import Checkpoint


def layer_names(source: Checkpoint | MomosFile) -> list[str]:
    """Name the tensors to measure: floating point, two or more dimensions, not empty; no aliases, no known buffers."""
    if isinstance(source, Checkpoint):
        kinds = {i.name: (i.shape, i.dtype) for i in source.tensors.infos if i.name not in source.buffers}
    else:
        kinds = {name: (tensor.shape, tensor.dtype) for name, tensor in source.recipe.tensors.items()}
        own = source.recipe.reserved | kinds.keys()
        others = {name: entry for name, entry in source.entries.items() if name not in own}
        kinds |= {name: (entry.shape, entry.torch_dtype) for name, entry in others.items()}
    return [n for n, (shape, dtype) in kinds.items() if dtype.is_floating_point and len(shape) >= 2 and 0 not in shape]


def topology_of_checkpoint(checkpoint: Checkpoint, s: int | None = None) -> Iterator[LayerTopology]:
    """Measure the layers of a dense checkpoint, one at a time.

    Args:
        checkpoint: Where the layers lie.
        s: Block size, for the share of all-zero blocks; None leaves that out.

    Raises:
        MomosError: A layer cannot be measured.
    """
    for name in layer_names(checkpoint):
        yield layer_topology(checkpoint.read(name), name=name, s=s)


def topology_of_file(file: MomosFile) -> Iterator[LayerTopology]:
    """Measure the layers of a compressed file, decoded one at a time.

    Args:
        file: The file.

    Returns:
        The layers; ``zero_block_share`` counts the blocks that the mosaic puts on an all-zero motif, and is None for a
        layer stored as it was.

    Raises:
        FormatError: The file is damaged.
        MomosError: A layer cannot be measured.
    """
    zero = (file.codebook == 0).all(dim=1)
    for name in layer_names(file):
        measured = layer_topology(file.get(name), name=name)
        if name in file.recipe.tensors:
            share = float(zero[file.indices(name).long()].double().mean())
            measured = replace(measured, zero_block_share=share)
        yield measured
