"""What a compressed file holds, as records for tables and JSON."""

from collections.abc import Mapping
from typing import Any

from momos_compress.coding.registry import get_coding
from momos_compress.container.reader import MomosFile
from momos_compress.tensors.dtypes import dtype_name


def tensor_rows(file: MomosFile, output_errors: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Describe each stored tensor, the format's own first.

    Args:
        file: The opened file.
        output_errors: What each compressed parameter alone does to the network's outputs, by name.

    Returns:
        A record for each: ``name``, ``shape``, ``dtype``, ``stored``, ``bytes`` and ``byte_share``; ``blocks``,
        ``distortion`` and ``distortion_share``, None where it is not compressed; with ``output_errors`` also
        ``output_error`` and ``output_share``, None where it has none.
    """
    rows: list[dict[str, Any]] = []
    file_bytes = file.path.stat().st_size
    distortion = sum(tensor.distortion for tensor in file.recipe.tensors.values())
    outputs = sum(output_errors.values()) if output_errors else 0.0
    formats = [name for name in file.entries if name in file.recipe.reserved]
    for name in (*formats, *(name for name in file if name not in file.recipe.aliases)):
        entry, tensor = file.entries[name], file.recipe.tensors.get(name)
        dtype, shape = file.recipe.own(name, entry)
        rows.append(
            {
                "name": name,
                "shape": list(shape),
                "dtype": dtype_name(dtype),
                "stored": "mosaic" if tensor else "affine8" if name in file.recipe.affine8 else entry.dtype,
                "bytes": entry.nbytes,
                "blocks": tensor.blocks if tensor else None,
                "distortion": tensor.distortion if tensor else None,
                "byte_share": entry.nbytes / file_bytes,
                "distortion_share": _share(tensor.distortion, distortion) if tensor else None,
            }
        )
        if output_errors is not None:
            error = output_errors.get(name)
            rows[-1] |= {"output_error": error, "output_share": None if error is None else _share(error, outputs)}
    return rows


def mosaic_bytes(file: MomosFile) -> int:
    """Number of bytes of the stored indices and of the tables of their coding."""
    own = get_coding(file.recipe.coding).tables
    return sum(file.entries[name].nbytes for name in (*own, *file.recipe.tensors))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def describe(file: MomosFile, output_errors: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Describe the whole file as one record that JSON can hold; ``tensors`` has the record of each stored tensor."""
    recipe = file.recipe
    return {
        "file": str(file.path),
        "file_bytes": file.path.stat().st_size,
        "s": recipe.s,
        "k": recipe.k,
        "blocks": recipe.blocks,
        "features": list(recipe.features),
        "mosaic_bytes": mosaic_bytes(file),
        "index_bits_per_block": 8 * mosaic_bytes(file) / recipe.blocks if recipe.blocks else 0.0,
        "relative_distortion": recipe.distortion / recipe.energy if recipe.energy else 0.0,
        **recipe.extra,
        "aliases": dict(recipe.aliases),
        "tensors": tensor_rows(file, output_errors),
    }
