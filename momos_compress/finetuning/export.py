"""From a trained network under the mosaic constraint back to a compact file."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from momos_compress.container.assembly import stored_tensors
from momos_compress.container.writer import write_container
from momos_compress.modules.parametrised import MosaicNetwork
from momos_compress.mosaic.codebook import quantise_codebook
from momos_compress.mosaic.mosaic import MosaicBuilder
from momos_compress.networks.fidelity import FIDELITY
from momos_compress.networks.layers import own_names
from momos_compress.sources.compressed import checkpoint_of
from momos_compress.tensors.records import TensorInfo


def write_tuned(
    network: MosaicNetwork,
    path: Path,
    reference: Callable[[str], torch.Tensor],
    record: Mapping[str, Any],
) -> int:
    """Write a trained network to a file like the one it came from, mosaic and coding unchanged.

    Args:
        network: The network, and the file that it came from.
        path: The file to write.
        reference: Name -> the tensor that distortion is measured against.
        record: What the recipe tells of the training.

    Returns:
        The size of the file in bytes.
    """
    file, recipe = network.file, network.file.recipe
    motifs = network.codebook.values().detach().cpu().numpy()
    stored, step = quantise_codebook(motifs, network.codebook.dtype)
    codes = network.stored_codes()
    builder, energy = MosaicBuilder(recipe.k, spool_directory=path.parent), 0.0
    for name, tensor in recipe.tensors.items():
        # What the network computes with is what the file will decode to, but for the tensor's own dtype.
        weight = network.weight(name).cpu().to(tensor.dtype).double()
        original = reference(name).double()
        energy += float(original.square().sum())
        error = float((weight - original).square().sum())
        info = TensorInfo(name, tensor.shape, tensor.dtype)
        columns = file.column_codes(name) if tensor.column_scaled else None
        builder.add(info, file.indices(name).numpy(), error, tensor.layout, codes.get(name), columns)
    mosaic = builder.finish(stored, step, keep_unused=True, energy=energy, sampled_blocks=0)
    checkpoint = checkpoint_of(file)
    own = own_names(network.model, (info.name for info in checkpoint.tensors.infos if info.name not in recipe.tensors))
    state = network.model.state_dict()
    dtypes = {info.name: info.dtype for info in checkpoint.tensors.infos}
    replaced = {name: state[place].detach().cpu().to(dtypes[name]) for name, place in own.items() if place in state}
    tensors, kept = stored_tensors(
        checkpoint.tensors,
        mosaic,
        recipe.coding,
        passthrough="auto" if recipe.cast or recipe.affine8 else "keep",
        replaced=replaced,
        spool_directory=path.parent,
    )
    # How the outputs of the file before differed says nothing of this one's.
    untuned = {name: value for name, value in recipe.extra.items() if name != FIDELITY}
    tuned = replace(
        recipe,
        tensors={tensor.name: tensor for tensor in mosaic.tensors},
        cast=kept.cast,
        affine8=kept.affine8,
        coding=kept.coding,
        distortion=mosaic.distortion,
        energy=mosaic.energy,
        codebook_step=step,
        bundle=None,
        extra={**untuned, "finetuned": dict(record)},
    )
    return write_container(path, tensors, tuned, bundled=bool(tuned.features))
