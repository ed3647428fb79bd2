"""The bundle: small tensors stored as one, and the recipe as deflated JSON (docs/format.md, "bundle").

In a safetensors header each tensor takes some 70 bytes, as many as the values of a small norm.
"""

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from momos_compress.errors import FormatError
from momos_compress.tensors.dtypes import DTYPES
from momos_compress.tensors.safetensors_reader import MAX_SIZE, Entry

BUNDLE_BELOW = 2**16
"""Bytes of data below which a tensor is bundled; larger ones stay apart, to be read one at a time."""
_DEPTH = 64
"""Most levels that nested names may have."""


def arrange(sizes: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Entry]:
    """Lay tensors out in a bundle, by dtype, then module by module.

    Args:
        sizes: Name -> dtype as safetensors names it, and shape.

    Returns:
        Name -> entry with its offset in the bundle, in the order of the data.
    """
    by_dtype: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, (dtype, shape) in sizes.items():
        by_dtype.setdefault(dtype, {})[name] = shape
    return _placed((name, dtype, shape) for dtype, names in by_dtype.items() for name, shape in _leaves(_nested(names)))


def bundle_to_json(bundle: Mapping[str, Entry]) -> dict[str, Any]:
    """Write the table of a bundle for the recipe: dtype -> names nested at their dots -> shape, in the data's order."""
    by_dtype: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, entry in bundle.items():
        by_dtype.setdefault(entry.dtype, {})[name] = entry.shape
    return {dtype: _nested(names) for dtype, names in by_dtype.items()}


def bundle_from_json(record: Mapping[str, Any]) -> dict[str, Entry]:
    """Read the table of a bundle from a recipe.

    Args:
        record: dtype -> names nested at their dots -> shape, in the data's order.

    Returns:
        Name -> entry with its offset in the bundle, in the order of the data.

    Raises:
        FormatError: A dtype, name or shape cannot be, or a name stands twice.
    """
    found = []
    for dtype, names in record.items():
        if dtype not in DTYPES or not isinstance(names, dict):
            raise FormatError(f"'bundle' has the unknown dtype {dtype[:40]!r}, or no names under it")
        found += [(name, dtype, _shape(name, shape)) for name, shape in _leaves(names)]
    bundle = _placed(found)
    if len(bundle) != len(found):
        raise FormatError("'bundle' names a tensor twice")
    return bundle


def bundle_bytes(bundle: Mapping[str, Entry]) -> int:
    """Size of the data of all bundled tensors."""
    return sum(entry.nbytes for entry in bundle.values())


def deflate(text: str) -> bytes:
    """Compress a recipe string, as it is stored beside a bundle."""
    return zlib.compress(text.encode(), 9)


def inflate(data: bytes, most: int) -> str:
    """Restore a recipe string.

    Args:
        data: The compressed string.
        most: Bytes that the string may have at most.

    Raises:
        FormatError: The data are damaged, are followed by others, or inflate to more bytes than any recipe has.
    """
    most = min(most, 2**16 + 128 * len(data))
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, most + 1)
        if len(text) > most:
            raise FormatError(f"the recipe inflates to more than {most:,} bytes, more than any checkpoint needs")
        if not inflater.eof or inflater.unused_data:
            raise FormatError("the deflated recipe does not end with its data")
        return text.decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise FormatError(f"the recipe cannot be inflated ({type(error).__name__})") from error


def _placed(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> dict[str, Entry]:
    bundle, offset = {}, 0
    for name, dtype, shape in tensors:
        bundle[name] = Entry(dtype, shape, offset)
        offset += bundle[name].nbytes
    return bundle


def _nested(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Nest names at their dots; leave all as they are where one is the beginning of another, or has too many dots."""
    root: dict[str, Any] = {}
    for name, shape in shapes.items():
        *path, last = name.split(".")
        inner = root
        for part in path:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                return dict(shapes)
        if last in inner or len(path) >= _DEPTH:
            return dict(shapes)
        inner[last] = shape
    return root


def _leaves(names: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Full names, and what each stands for, in order."""
    if len(above) > _DEPTH:
        raise FormatError(f"'bundle' nests names deeper than {_DEPTH}")
    for part, inner in names.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, (*above, part))
        else:
            yield ".".join((*above, part)), inner


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < MAX_SIZE for size in shape):
        raise FormatError(f"{name}: shape {str(shape)[:80]} is not a list of sizes")
    if len(shape) > 64 or math.prod(size or 1 for size in shape) >= MAX_SIZE:
        raise FormatError(f"{name}: its shape is beyond any tensor's")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise FormatError(f"{ascii(name)[:80]}: a name that is no Unicode text") from error
    return tuple(shape)
