"""The recipe: what a compressed file tells about itself, in version 1 of docs/format.md and its extensions."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from momos_compress.coding.protocol import Part
from momos_compress.coding.registry import coding_features, get_coding
from momos_compress.container.affine8 import HEADER_BYTES as AFFINE8_HEADER
from momos_compress.container.bundle import bundle_to_json
from momos_compress.mosaic.blocks import FLAT
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.tensors.dtypes import dtype_name
from momos_compress.tensors.safetensors_reader import Entry
from momos_compress.tensors.safetensors_writer import DIGEST_HEX

FORMAT_NAME = "momos"
FORMAT_VERSION = 1
CODEBOOK = "momos.codebook"
SCALES = "momos.scales"
COLUMNS = "momos.columns"
BUNDLE = "momos.bundle"
RECIPE = "momos.recipe"
FEATURES = ("layout", "scales", "codebook8", "ans", "bundle", "affine8", "classes", "columns")
"""Extensions of version 1, in the order in which files list them; those of other codings come after."""
EVERY = "*"
"""In place of a list of names: all tensors stored in that way and not named elsewhere."""
MAX_RECIPE_BYTES = 2**26
"""Bound of the length of a recipe."""


def recipe_checksum(recipe: str) -> str:
    """BLAKE2b digest of the recipe string, ``DIGEST_HEX`` hexadecimal digits."""
    return hashlib.blake2b(recipe.encode(), digest_size=DIGEST_HEX // 2).hexdigest()


def entry_of(tensor: CompressedTensor, *, short: bool = False) -> dict[str, Any]:
    """Entry of a compressed parameter in the recipe; ``short`` leaves out what follows from the other entries."""
    entry: dict[str, Any] = {
        "dtype": dtype_name(tensor.dtype),
        "shape": list(tensor.shape),
        "distortion": float(f"{tensor.distortion:.4g}"),
    }
    if not short:
        entry = {
            "shape": list(tensor.shape),
            "dtype": dtype_name(tensor.dtype),
            "blocks": [tensor.first_block, tensor.end_block],
            "distortion": float(f"{tensor.distortion:.6g}"),
        }
    if tensor.layout.rows is not None:
        entry["rows"] = tensor.layout.rows
    if tensor.layout.transposed:
        entry["transposed"] = True
    if tensor.scaled:
        entry["scaled"] = True
    if tensor.column_scaled:
        entry["columns"] = True
    return entry


def part_of(tensor: CompressedTensor) -> Part:
    """What a coding has to know of a compressed parameter."""
    return Part(tensor.name, tensor.blocks, None if tensor.layout.rows is None else tensor.grid)


def parts_of(tensors: Iterable[CompressedTensor]) -> tuple[Part, ...]:
    """What a coding has to know of compressed parameters, in their order."""
    return tuple(map(part_of, tensors))


def known_features() -> tuple[str, ...]:
    """Extensions of version 1 that this version reads, in the order in which files list them."""
    return tuple(dict.fromkeys((*FEATURES, *coding_features())))


@dataclass(frozen=True)
class Recipe:
    """The recipe of a file (docs/format.md).

    Attributes:
        s: Block size.
        k: Number of motifs.
        blocks: Number of blocks of all compressed parameters.
        distortion: Sum of squared differences over all compressed parameters.
        energy: Sum of squares over all compressed parameters.
        tensors: The compressed parameters by name, in block order.
        cast: Name of each tensor stored in float16 -> its own dtype.
        affine8: Name of each vector stored in a byte a value -> its own dtype.
        aliases: Further name of a stored tensor -> its name.
        extra: Descriptive entries, which do not change how the file decodes.
        codebook_step: What int8 motifs are multiples of; None where motifs are floating-point numbers.
        coding: Name of the coding of the indices.
        bundle: Bundled tensors with their offsets; None where every tensor is stored under its own name.
    """

    s: int
    k: int
    blocks: int
    distortion: float
    energy: float
    tensors: Mapping[str, CompressedTensor]
    cast: Mapping[str, torch.dtype] = field(default_factory=dict)
    affine8: Mapping[str, torch.dtype] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    codebook_step: float | None = None
    coding: str = "packed"
    bundle: Mapping[str, Entry] | None = None

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What a coding has to know of the compressed parameters, in block order."""
        return parts_of(self.tensors.values())

    @property
    def scales(self) -> int:
        """Number of scales of rows of all parameters together."""
        return sum(tensor.scales for tensor in self.tensors.values())

    @property
    def columns(self) -> int:
        """Number of scales of columns of all parameters together."""
        return sum(tensor.columns for tensor in self.tensors.values())

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Extensions that a reader of this file must know."""
        used = {
            "layout": any(tensor.layout != FLAT for tensor in self.tensors.values()),
            "scales": any(tensor.scaled for tensor in self.tensors.values()),
            "columns": any(tensor.column_scaled for tensor in self.tensors.values()),
            "codebook8": self.codebook_step is not None,
            "bundle": self.bundle is not None,
            "affine8": bool(self.affine8),
        }
        coding = get_coding(self.coding).features
        return tuple(name for name in known_features() if used.get(name, name in coding))

    @cached_property
    def reserved(self) -> frozenset[str]:
        """Names of the format's own stored tensors in this file."""
        names = {"scales": {SCALES}, "columns": {COLUMNS}, "bundle": {BUNDLE, RECIPE}}
        own = {CODEBOOK, *get_coding(self.coding).tables}
        return frozenset(own.union(*(names.get(feature, set()) for feature in self.features)))

    def own(self, name: str, entry: Entry) -> tuple[torch.dtype, tuple[int, ...]]:
        """A tensor's dtype and shape in the checkpoint.

        Args:
            name: The stored tensor.
            entry: Its dtype and shape as stored.
        """
        if name in self.tensors:
            return self.tensors[name].dtype, self.tensors[name].shape
        if name in self.affine8:
            return self.affine8[name], (entry.nbytes - AFFINE8_HEADER,)
        return self.cast.get(name, entry.torch_dtype), entry.shape

    def to_json(self) -> str:
        """Write the whole recipe as JSON; with a bundle its features are left out, as the metadata have them."""
        short = self.bundle is not None
        record = {
            "s": self.s,
            "k": self.k,
            "blocks": self.blocks,
            "distortion": self.distortion,
            "energy": self.energy,
            "tensors": {name: entry_of(tensor, short=short) for name, tensor in self.tensors.items()},
            "cast": _named(self.cast),
            "aliases": dict(self.aliases),
            **self.extra,
        }
        if self.features and not short:
            record["features"] = list(self.features)
        if self.codebook_step is not None:
            record["codebook_step"] = self.codebook_step
        if self.coding != "packed":
            record["coding"] = self.coding
        if self.affine8:
            record["affine8"] = _named(self.affine8)
        if self.bundle is not None:
            record["bundle"] = bundle_to_json(self.bundle)
        return to_text(record)

    def to_metadata(self) -> str:
        """Write the recipe string of the metadata: the whole recipe, or only its features where there is a bundle."""
        return self.to_json() if self.bundle is None else to_text({"features": list(self.features)})


def _named(dtypes: Mapping[str, torch.dtype]) -> dict[str, list[str] | str]:
    names: dict[str, list[str] | str] = {}
    for dtype in dict.fromkeys(dtypes.values()):
        # A network's hundreds of norms are all float32: one word for their names keeps the header small.
        own = [name for name in dtypes if dtypes[name] == dtype]
        names[dtype_name(dtype)] = EVERY if dtype == torch.float32 else own
    return names


def to_text(record: Mapping[str, Any]) -> str:
    """Write JSON in the format's own form: no spaces, non-ASCII characters as they are."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
