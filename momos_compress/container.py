"""The container's metadata: what version 1 of docs/format.md writes and how it is checked when read."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from momos_compress.blocks import FLAT, MAX_BLOCK_SIZE, MAX_MOTIFS, Layout
from momos_compress.errors import FormatError, one_line
from momos_compress.json_fields import flag, integer, mapping, number, parse_object
from momos_compress.packing import index_bits, packed_bytes

FORMAT_NAME = "momos"
FORMAT_VERSION = 1
CODEBOOK = "momos.codebook"
SCALES = "momos.scales"
FEATURES = ("layout", "scales", "codebook8")
"""Extensions of version 1 that this reader knows."""
DIGEST_HEX = 16
EVERY = "*"
MAX_RECIPE_BYTES = 2**26
FLOAT_DTYPES = {
    name: getattr(torch, name) for name in ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
}


def dtype_name(dtype: torch.dtype) -> str:
    """torch.float32 -> "float32"."""
    return str(dtype).removeprefix("torch.")


def checksum(name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    """The running BLAKE2b digest of a stored tensor, fed with its entry; its data follow."""
    return hashlib.blake2b(f"{name}\n{dtype}\n{','.join(map(str, shape))}\n".encode(), digest_size=DIGEST_HEX // 2)


def recipe_checksum(recipe: str) -> str:
    """The digest of the recipe string, as hexadecimal digits."""
    return hashlib.blake2b(recipe.encode(), digest_size=DIGEST_HEX // 2).hexdigest()


@dataclass(frozen=True)
class CompressedTensor:
    """A compressed parameter: its own shape and dtype, its range of blocks, and its distortion.

    distortion: sum of squared differences over the real values. layout: how it is cut into blocks. scaled: whether each
    of its rows has a scale.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    first_block: int
    end_block: int
    distortion: float
    layout: Layout = FLAT
    scaled: bool = False

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.end_block - self.first_block

    @property
    def values(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def scales(self) -> int:
        """Number of scales: one a row, or none."""
        return (self.layout.rows or 0) if self.scaled else 0

    def stored_bytes(self, k: int) -> int:
        """Length of the stored U8 tensor, guard byte included."""
        size = packed_bytes(self.blocks, index_bits(k))
        return size + 1 if (size,) == self.shape else size

    def to_json(self) -> dict[str, Any]:
        """Its entry in the recipe."""
        entry: dict[str, Any] = {
            "shape": list(self.shape),
            "dtype": dtype_name(self.dtype),
            "blocks": [self.first_block, self.end_block],
            "distortion": float(f"{self.distortion:.6g}"),
        }
        if self.layout.rows is not None:
            entry["rows"] = self.layout.rows
        if self.layout.transposed:
            entry["transposed"] = True
        if self.scaled:
            entry["scaled"] = True
        return entry


@dataclass(frozen=True)
class Recipe:
    """The recipe of docs/format.md; ``extra`` holds its descriptive entries, which do not change how data decode.

    codebook_step: what the codebook's int8 are multiples of; None where it holds floating-point numbers.
    """

    s: int
    k: int
    blocks: int
    distortion: float
    energy: float
    tensors: Mapping[str, CompressedTensor]
    cast: Mapping[str, torch.dtype] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    codebook_step: float | None = None

    @property
    def scales(self) -> int:
        """Number of scales, of all tensors together."""
        return sum(tensor.scales for tensor in self.tensors.values())

    @property
    def features(self) -> tuple[str, ...]:
        """The extensions that a reader of this file must know."""
        used = {
            "layout": any(tensor.layout != FLAT for tensor in self.tensors.values()),
            "scales": any(tensor.scaled for tensor in self.tensors.values()),
            "codebook8": self.codebook_step is not None,
        }
        return tuple(name for name in FEATURES if used[name])

    @property
    def reserved(self) -> frozenset[str]:
        """Names of stored tensors that are the format's own in this file."""
        return frozenset({CODEBOOK, SCALES} if "scales" in self.features else {CODEBOOK})

    def to_json(self) -> str:
        """The recipe string."""
        cast: dict[str, list[str]] = {}
        for name, dtype in self.cast.items():
            cast.setdefault(dtype_name(dtype), []).append(name)
        # Hundreds of norms share one dtype: naming it once keeps the header of a small network small.
        named: dict[str, list[str] | str] = {**cast, "float32": EVERY} if "float32" in cast else dict(cast)
        record = {
            "s": self.s,
            "k": self.k,
            "blocks": self.blocks,
            "distortion": self.distortion,
            "energy": self.energy,
            "tensors": {name: tensor.to_json() for name, tensor in self.tensors.items()},
            "cast": named,
            "aliases": dict(self.aliases),
            **self.extra,
        }
        if self.features:
            record["features"] = list(self.features)
        if self.codebook_step is not None:
            record["codebook_step"] = self.codebook_step
        return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, halves: Iterable[str] = ()) -> "Recipe":
        """Parse and check a recipe string; FormatError says what is wrong.

        halves: names of the tensors that the file stores as F16.
        """
        if len(text) > MAX_RECIPE_BYTES:
            raise FormatError(f"the recipe has {len(text):,} characters, more than any checkpoint needs")
        record = parse_object(text, "the recipe")
        features = _features(record)
        s, k = integer(record, "s", 1, MAX_BLOCK_SIZE), integer(record, "k", 1, MAX_MOTIFS)
        blocks = integer(record, "blocks", 0, 2**48)
        tensors, end = {}, 0
        for name, entry in mapping(record, "tensors").items():
            tensors[name] = _compressed_tensor(name, entry, end, s, features)
            end = tensors[name].end_block
        if end != blocks:
            raise FormatError(f"the tensors' blocks end at {end:,} where the recipe says {blocks:,}")
        cast = _cast(mapping(record, "cast"), halves)
        aliases = mapping(record, "aliases")
        if not all(isinstance(target, str) for target in aliases.values()):
            raise FormatError("'aliases' must map names to names")
        known = {"s", "k", "blocks", "distortion", "energy", "tensors", "cast", "aliases", "features", "codebook_step"}
        return cls(
            s,
            k,
            blocks,
            number(record, "distortion"),
            number(record, "energy"),
            tensors,
            cast,
            aliases,
            {key: value for key, value in record.items() if key not in known},
            _codebook_step(record, features),
        )


def _features(record: Mapping[str, Any]) -> frozenset[str]:
    """The extensions that the file uses; all of them must be known."""
    named = record.get("features") or []
    known = isinstance(named, list) and all(isinstance(name, str) for name in named)
    unknown = [name for name in named if name not in FEATURES] if known else named
    if unknown:
        needed = one_line(unknown, 100)
        raise FormatError(f"needs features that this version does not know: {needed}; upgrade momos-compress")
    return frozenset(named)


def _codebook_step(record: Mapping[str, Any], features: frozenset[str]) -> float | None:
    if "codebook8" not in features:
        return None
    step = number(record, "codebook_step")
    if not 0 < step <= float(np.finfo(np.float32).max) or float(np.float32(step)) != step:
        raise FormatError(f"'codebook_step' must be a positive float32 number, not {step:.9g}")
    return step


def _compressed_tensor(name: str, entry: Any, start: int, s: int, features: frozenset[str]) -> CompressedTensor:
    if not isinstance(entry, dict):
        raise FormatError(f"{name}: its recipe entry is not an object")
    shape, dtype, span = entry.get("shape"), entry.get("dtype"), entry.get("blocks")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 2**48 for size in shape):
        raise FormatError(f"{name}: shape {str(shape)[:80]} is not a list of positive sizes")
    if not isinstance(dtype, str) or dtype not in FLOAT_DTYPES:
        raise FormatError(f"{name}: unknown dtype {str(dtype)[:80]!r}")
    if not isinstance(span, list) or len(span) != 2 or not all(type(end) is int for end in span):
        raise FormatError(f"{name}: its block range is not a pair of integers")
    layout = _layout(name, entry) if "layout" in features else FLAT
    tensor = CompressedTensor(
        name,
        tuple(shape),
        FLOAT_DTYPES[dtype],
        span[0],
        span[1],
        number(entry, "distortion"),
        layout,
        flag(entry, "scaled") if "scales" in features else False,
    )
    sound = len(shape) <= 32 and tensor.values < 2**48 and layout.fits(tensor.shape)
    if not sound or span[0] != start or tensor.blocks != layout.count(tensor.values, s):
        raise FormatError(f"{name}: shape {shape} at s = {s}{_told(layout)} does not give the blocks {span}")
    if tensor.scaled and layout.rows is None:
        raise FormatError(f"{name}: scaled, and it has no rows")
    return tensor


def _told(layout: Layout) -> str:
    rows = "" if layout.rows is None else f" in {layout.rows} rows"
    return f"{rows} transposed" if layout.transposed else rows


def _layout(name: str, entry: Mapping[str, Any]) -> Layout:
    rows = entry.get("rows")
    if rows is not None and (type(rows) is not int or not 0 < rows < 2**48):
        raise FormatError(f"{name}: {str(rows)[:40]} is no number of rows")
    return Layout(rows, flag(entry, "transposed"))


def _cast(record: Mapping[str, Any], halves: Iterable[str]) -> dict[str, torch.dtype]:
    cast: dict[str, torch.dtype] = {}
    everything: torch.dtype | None = None
    for dtype, names in record.items():
        if dtype not in FLOAT_DTYPES or not (isinstance(names, list) or names == EVERY):
            raise FormatError(f"'cast' has the unknown dtype {dtype[:40]!r}, or neither a list of names nor {EVERY!r}")
        if names == EVERY:
            if everything is not None:
                raise FormatError(f"'cast' has {EVERY!r} twice")
            everything = FLOAT_DTYPES[dtype]
        else:
            cast |= {str(name): FLOAT_DTYPES[dtype] for name in names}
    if everything is not None:
        cast |= {name: everything for name in halves if name != CODEBOOK and name not in cast}
    return cast
