"""Opens a compressed file as its checked recipe and its stored tensors; nothing is decoded."""

from dataclasses import dataclass
from pathlib import Path

from momos_compress.container.bundle import inflate
from momos_compress.container.checks import check_stored
from momos_compress.container.recipe import (
    FORMAT_NAME,
    FORMAT_VERSION,
    MAX_RECIPE_BYTES,
    RECIPE,
    Recipe,
    recipe_checksum,
)
from momos_compress.container.recipe_parser import Record, features_of, parse_recipe, parse_text
from momos_compress.container.stored import Stored, stored_in
from momos_compress.errors import FormatError, one_line
from momos_compress.tensors.safetensors_reader import SafetensorsFile
from momos_compress.tensors.safetensors_writer import DIGEST_HEX, tensor_data


@dataclass(frozen=True)
class Contents:
    """A file's recipe, and its stored tensors, which agree with it."""

    recipe: Recipe
    stored: Stored


def read_contents(path: Path) -> Contents:
    """Open a file and check its whole recipe against what is stored.

    Raises:
        FormatError: The file is not a sound compressed file; the message names it.
    """
    try:
        file = SafetensorsFile.open(path)
        record, stored = _described(file)
        features = features_of(record)
        if "bundle" in features:
            stored.check_bytes(RECIPE)
            record = parse_text(inflate(tensor_data(stored.read(RECIPE)), MAX_RECIPE_BYTES))
        recipe = parse_recipe(record, features, file.entries)
        if recipe.bundle is not None:
            stored = stored.unbundled(recipe.bundle)
        check_stored(recipe, stored)
    except FormatError as error:
        raise FormatError(f"{path}: {one_line(error)}") from error
    return Contents(recipe, stored)


def _described(file: SafetensorsFile) -> tuple[Record, Stored]:
    """The recipe that the metadata hold (only its features where tensors are bundled), and the stored tensors."""
    metadata = file.metadata
    if metadata.get("format") != FORMAT_NAME:
        raise FormatError("not a MoMos file (its metadata have no format 'momos'); compress it first")
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise FormatError(
            f"format version {metadata.get('format_version')!r:.40}, and this reader knows {FORMAT_VERSION}; "
            "upgrade momos-compress"
        )
    text, digests = metadata.get("recipe"), metadata.get("checksums")
    if text is None or digests is None:
        raise FormatError("the recipe or the checksums are missing")
    stored = stored_in(file, digests)
    if digests[-DIGEST_HEX:] != recipe_checksum(text):
        raise FormatError("the recipe does not match its checksum: the file is damaged")
    return parse_text(text), stored
