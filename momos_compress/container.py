"""The container's metadata: what version 1 of docs/format.md writes and how it is checked when read."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from momos_compress.blocks import MAX_BLOCK_SIZE, MAX_MOTIFS, count_blocks
from momos_compress.errors import FormatError, one_line
from momos_compress.packing import index_bits, packed_bytes

FORMAT_NAME = "momos"
FORMAT_VERSION = 1
CODEBOOK = "momos.codebook"
DIGEST_HEX = 16
EVERY = "*"
MAX_RECIPE_BYTES = 2**26
CODEBOOK_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
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

    distortion: sum of squared differences over the real values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    first_block: int
    end_block: int
    distortion: float

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.end_block - self.first_block

    @property
    def values(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def stored_bytes(self, k: int) -> int:
        """Length of the stored U8 tensor, guard byte included."""
        size = packed_bytes(self.blocks, index_bits(k))
        return size + 1 if (size,) == self.shape else size


@dataclass(frozen=True)
class Recipe:
    """The recipe of docs/format.md; ``extra`` holds its descriptive entries, which do not change how data decode."""

    s: int
    k: int
    blocks: int
    distortion: float
    energy: float
    tensors: Mapping[str, CompressedTensor]
    cast: Mapping[str, torch.dtype] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

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
            "tensors": {
                name: {
                    "shape": list(tensor.shape),
                    "dtype": dtype_name(tensor.dtype),
                    "blocks": [tensor.first_block, tensor.end_block],
                    "distortion": float(f"{tensor.distortion:.6g}"),
                }
                for name, tensor in self.tensors.items()
            },
            "cast": named,
            "aliases": dict(self.aliases),
            **self.extra,
        }
        return json.dumps(record, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, halves: Iterable[str] = ()) -> "Recipe":
        """Parse and check a recipe string; FormatError says what is wrong.

        halves: names of the tensors that the file stores as F16.
        """
        if len(text) > MAX_RECIPE_BYTES:
            raise FormatError(f"the recipe has {len(text):,} characters, more than any checkpoint needs")
        try:
            record = json.loads(
                text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite
            )
        except (ValueError, RecursionError) as error:
            raise FormatError(f"the recipe is not JSON ({type(error).__name__})") from error
        if not isinstance(record, dict):
            raise FormatError("the recipe is not a JSON object")
        if record.get("features"):
            needed = one_line(record["features"], 100)
            raise FormatError(f"needs features that this version does not know: {needed}; upgrade momos-compress")
        s, k = _integer(record, "s", 1, MAX_BLOCK_SIZE), _integer(record, "k", 1, MAX_MOTIFS)
        blocks = _integer(record, "blocks", 0, 2**48)
        tensors, end = {}, 0
        for name, entry in _mapping(record, "tensors").items():
            tensors[name] = _compressed_tensor(name, entry, end, s)
            end = tensors[name].end_block
        if end != blocks:
            raise FormatError(f"the tensors' blocks end at {end:,} where the recipe says {blocks:,}")
        cast = _cast(_mapping(record, "cast"), halves)
        aliases = _mapping(record, "aliases")
        if not all(isinstance(target, str) for target in aliases.values()):
            raise FormatError("'aliases' must map names to names")
        known = {"s", "k", "blocks", "distortion", "energy", "tensors", "cast", "aliases", "features"}
        extra = {key: value for key, value in record.items() if key not in known}
        return cls(
            s, k, blocks, _number(record, "distortion"), _number(record, "energy"), tensors, cast, aliases, extra
        )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _finite(word: str) -> float:
    value = float(word)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{word} is beyond a float")
    return value


def _compressed_tensor(name: str, entry: Any, start: int, s: int) -> CompressedTensor:
    if not isinstance(entry, dict):
        raise FormatError(f"{name}: its recipe entry is not an object")
    shape, dtype, span = entry.get("shape"), entry.get("dtype"), entry.get("blocks")
    if not isinstance(shape, list) or not all(type(size) is int and 0 < size < 2**48 for size in shape):
        raise FormatError(f"{name}: shape {str(shape)[:80]} is not a list of positive sizes")
    if not isinstance(dtype, str) or dtype not in FLOAT_DTYPES:
        raise FormatError(f"{name}: unknown dtype {str(dtype)[:80]!r}")
    if not isinstance(span, list) or len(span) != 2 or not all(type(end) is int for end in span):
        raise FormatError(f"{name}: its block range is not a pair of integers")
    tensor = CompressedTensor(name, tuple(shape), FLOAT_DTYPES[dtype], span[0], span[1], _number(entry, "distortion"))
    if len(shape) > 32 or tensor.values >= 2**48 or span[0] != start or tensor.blocks != count_blocks(tensor.values, s):
        raise FormatError(f"{name}: shape {shape} at s = {s} does not give the blocks {span}")
    return tensor


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


def _integer(record: Mapping[str, Any], key: str, low: int, high: int) -> int:
    value = record.get(key)
    if type(value) is not int or not low <= value <= high:
        raise FormatError(f"{key!r} must be an integer in {low}..{high}, not {str(value)[:40]}")
    return value


def _number(record: Mapping[str, Any], key: str) -> float:
    value = record.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e300:
        raise FormatError(f"{key!r} must be a finite number that is not negative, not {str(value)[:40]}")
    return float(value)


def _mapping(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key, {})
    if not isinstance(value, dict):
        raise FormatError(f"{key!r} must be an object")
    return value
