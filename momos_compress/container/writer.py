"""Writes compressed files, one tensor in memory at a time."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from momos_compress.container.bundle import BUNDLE_BELOW, arrange, bundle_bytes, deflate
from momos_compress.container.recipe import BUNDLE, FORMAT_NAME, FORMAT_VERSION, RECIPE, Recipe, recipe_checksum
from momos_compress.errors import MomosError
from momos_compress.tensors.dtypes import SAFETENSORS_NAMES
from momos_compress.tensors.safetensors_writer import StoredTensor, check_names, in_file_order, write_ordered


def write_container(path: Path, stored: Iterable[StoredTensor], recipe: Recipe, *, bundled: bool | None = None) -> int:
    """Write a compressed file, which appears whole or not at all.

    Args:
        path: The file to write.
        stored: Its tensors, in any order.
        recipe: Its recipe, without a bundle.
        bundled: Whether small tensors are bundled; None bundles them unless the indices are packed.

    Returns:
        Size of the file in bytes.

    Raises:
        MomosError: A tensor has a name that the format reserves, or the file cannot be written.
    """
    tensors = list(stored)
    check_names(tensors)  # bundled ones too: an export will store them under their names
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

    return write_ordered(path, in_file_order(tensors), metadata)


def _bundled(stored: list[StoredTensor], recipe: Recipe) -> tuple[list[StoredTensor], Recipe]:
    """Bundle small tensors: what the file then stores, and the recipe that lists the bundle."""
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
