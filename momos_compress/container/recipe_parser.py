"""Parses recipes and trusts nothing in them (docs/format.md, "What a reader checks")."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from momos_compress.coding.registry import CODINGS, coding_features, coding_with, get_coding
from momos_compress.common.json_fields import flag, integer, mapping, number, parse_object
from momos_compress.container.bundle import bundle_from_json
from momos_compress.container.recipe import (
    BUNDLE,
    CODEBOOK,
    COLUMNS,
    EVERY,
    MAX_RECIPE_BYTES,
    RECIPE,
    SCALES,
    Recipe,
    known_features,
)
from momos_compress.errors import FormatError, one_line
from momos_compress.mosaic.blocks import FLAT, MAX_BLOCK_SIZE, MAX_MOTIFS, Layout
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.tensors.dtypes import FLOAT_DTYPES
from momos_compress.tensors.safetensors_reader import Entry

Record = dict[str, Any]
_KNOWN = (
    *("s", "k", "blocks", "distortion", "energy", "tensors", "cast", "aliases", "features"),
    *("codebook_step", "coding", "bundle", "affine8"),
)


def parse_text(text: str) -> Record:
    """Parse a recipe string.

    Raises:
        FormatError: It is too long, or not a JSON object in strict form.
    """
    if len(text) > MAX_RECIPE_BYTES:
        raise FormatError(f"the recipe has {len(text):,} characters, more than any checkpoint needs")
    return parse_object(text, "the recipe")


def features_of(record: Record) -> frozenset[str]:
    """Extensions that a file uses.

    Raises:
        FormatError: This version does not know one; the message names those.
    """
    named = record.get("features") or []
    known = isinstance(named, list) and all(isinstance(name, str) for name in named)
    unknown = [name for name in named if name not in known_features()] if known else named
    if unknown:
        needed = one_line(unknown, 100)
        raise FormatError(f"needs features that this version does not know: {needed}; upgrade momos-compress")
    return frozenset(named)


def parse_recipe(record: Record, features: frozenset[str], stored: Mapping[str, Entry]) -> Recipe:
    """Check a recipe.

    Args:
        record: The recipe as JSON gives it.
        features: The extensions that the file uses.
        stored: The tensors of the safetensors file: name -> dtype and shape.

    Raises:
        FormatError: An entry is missing, of a wrong type, out of range, or contradicts another.
    """
    s, k = integer(record, "s", 1, MAX_BLOCK_SIZE), integer(record, "k", 1, MAX_MOTIFS)
    blocks = integer(record, "blocks", 0, 2**48)
    tensors, end = {}, 0
    for name, entry in mapping(record, "tensors").items():
        tensors[name] = _compressed_tensor(name, entry, end, s, features)
        end = tensors[name].end_block
    if end != blocks:
        raise FormatError(f"the tensors' blocks end at {end:,} where the recipe says {blocks:,}")
    bundle = bundle_from_json(mapping(record, "bundle")) if "bundle" in features else None
    halves = [name for name, entry in (*stored.items(), *(bundle or {}).items()) if entry.dtype == "F16"]
    aliases = mapping(record, "aliases")
    if not all(isinstance(target, str) for target in aliases.values()):
        raise FormatError("'aliases' must map names to names")
    coding = _coding(record, features, k)
    return Recipe(
        s=s,
        k=k,
        blocks=blocks,
        distortion=number(record, "distortion"),
        energy=number(record, "energy"),
        tensors=tensors,
        cast=_cast(mapping(record, "cast"), halves),
        affine8=_affine8(
            record, features, tensors, (*stored.items(), *(bundle or {}).items()), get_coding(coding).tables
        ),
        aliases=aliases,
        extra={key: value for key, value in record.items() if key not in _KNOWN},
        codebook_step=_codebook_step(record, features),
        coding=coding,
        bundle=bundle,
    )


def _affine8(
    record: Record,
    features: frozenset[str],
    tensors: Mapping[str, CompressedTensor],
    stored: Iterable[tuple[str, Entry]],
    tables: Iterable[str],
) -> Mapping[str, torch.dtype]:
    if "affine8" not in features:
        return {}
    bytes_ = [name for name, entry in stored if entry.dtype == "U8" and len(entry.shape) == 1]
    formats = {SCALES, BUNDLE, RECIPE, *tables}
    if any(tensor.column_scaled for tensor in tensors.values()):
        formats.add(COLUMNS)
    own = (name for name in bytes_ if name not in tensors and name not in formats)
    return _cast(mapping(record, "affine8"), own)


def _coding(record: Record, features: frozenset[str], k: int) -> str:
    name = coding_with(features)
    if name is None:
        present = features & set(coding_features())
        lacking = next(
            (set(get_coding(name).features) - present for name in CODINGS if present < set(get_coding(name).features)),
            None,
        )
        beside = f"without {_quoted(lacking)}" if lacking else "together, as no coding of indices does"
        raise FormatError(f"has the feature {_quoted(present)} {beside}")
    if name != "packed" and record.get("coding") != name:
        raise FormatError(f"'coding' must be {name!r}, not {str(record.get('coding'))[:40]!r}")
    least, most = get_coding(name).motifs
    if not least <= k <= most:
        raise FormatError(f"{k:,} motifs cannot be coded by {name!r}, which takes {least} to {most:,}")
    return name


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _codebook_step(record: Record, features: frozenset[str]) -> float | None:
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
    layout = _layout(name, entry) if "layout" in features else FLAT
    if span is None and "bundle" in features and len(shape) <= 32:
        span = [start, start + layout.count(math.prod(shape), s)]
    if not isinstance(span, list) or len(span) != 2 or not all(type(end) is int for end in span):
        raise FormatError(f"{name}: its block range is not a pair of integers")
    tensor = CompressedTensor(
        name,
        tuple(shape),
        FLOAT_DTYPES[dtype],
        span[0],
        span[1],
        number(entry, "distortion"),
        layout,
        flag(entry, "scaled") if "scales" in features else False,
        flag(entry, "columns") if "columns" in features else False,
    )
    sound = len(shape) <= 32 and tensor.values < 2**48 and layout.fits(tensor.shape)
    if not sound or span[0] != start or tensor.blocks != layout.count(tensor.values, s):
        raise FormatError(f"{name}: shape {shape} at s = {s}{_told(layout)} does not give the blocks {span}")
    if tensor.scaled and layout.rows is None:
        raise FormatError(f"{name}: scaled, and it has no rows")
    if tensor.column_scaled and not tensor.scaled:
        raise FormatError(f"{name}: its columns are scaled, and its rows are not")
    return tensor


def _told(layout: Layout) -> str:
    rows = "" if layout.rows is None else f" in {layout.rows} rows"
    return f"{rows} transposed" if layout.transposed else rows


def _layout(name: str, entry: Record) -> Layout:
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
