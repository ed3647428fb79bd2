"""Checks stored tensors against the recipe, before any data are read (docs/format.md, "What a reader checks")."""

from momos_compress.coding.registry import get_coding
from momos_compress.container import affine8
from momos_compress.container.recipe import CODEBOOK, COLUMNS, SCALES, Recipe, part_of
from momos_compress.container.stored import Stored
from momos_compress.errors import FormatError
from momos_compress.mosaic.codebook import CODEBOOK_DTYPES
from momos_compress.mosaic.records import CompressedTensor


def check_stored(recipe: Recipe, stored: Stored) -> None:
    """Check that every stored tensor has the dtype and the shape that the recipe gives it.

    Raises:
        FormatError: One does not, one is missing, or one name stands for two things.
    """
    _check_codebook(recipe, stored)
    if SCALES in recipe.reserved:
        stored.check_bytes(SCALES, recipe.scales)
    if COLUMNS in recipe.reserved:
        stored.check_bytes(COLUMNS, recipe.columns)
    coding = get_coding(recipe.coding)
    coding.check_tables(recipe.k, recipe.parts, {name: stored.check_bytes(name) for name in coding.tables})
    for tensor in recipe.tensors.values():
        _check_mosaic(tensor, recipe, stored)
    for name in recipe.cast:
        entry = stored.entries.get(name)
        if entry is None or entry.dtype != "F16" or name in recipe.tensors or name in recipe.reserved:
            raise FormatError(f"{name}: listed as stored in F16, and is not")
    for name in recipe.affine8:
        if name in recipe.tensors or name in recipe.reserved or name in recipe.cast:
            raise FormatError(f"{name}: listed as stored in a byte a value, and is not")
        if stored.check_bytes(name) <= affine8.HEADER_BYTES:
            raise FormatError(f"{name}: listed as stored in a byte a value, and holds none")
    names = stored.entries.keys() - recipe.reserved
    for name, target in recipe.aliases.items():
        if name in recipe.reserved or name in names or target not in names:
            raise FormatError(f"{name}: an alias of {target!r}, which cannot be")


def _check_codebook(recipe: Recipe, stored: Stored) -> None:
    codebook = stored.entries.get(CODEBOOK)
    if codebook is None:
        raise FormatError(f"the codebook {CODEBOOK!r} is missing")
    kind = "float" if recipe.codebook_step is None else "I8"
    fits = codebook.torch_dtype in CODEBOOK_DTYPES.values() and (codebook.dtype == "I8") == (kind == "I8")
    if codebook.shape != (recipe.k, recipe.s) or not fits:
        raise FormatError(f"the codebook is {codebook.dtype} {codebook.shape}, not {kind} ({recipe.k}, {recipe.s})")


def _check_mosaic(tensor: CompressedTensor, recipe: Recipe, stored: Stored) -> None:
    name = tensor.name
    if name in recipe.reserved:
        raise FormatError(f"{name}: a parameter under a name of the format's own")
    size = stored.check_bytes(name)
    try:
        body = get_coding(recipe.coding).stream_bytes(recipe.k, part_of(tensor), size)
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from error
    if tensor.guarded(body) != size:
        raise FormatError(f"{name}: its mosaic is U8 ({size},), not U8 ({tensor.guarded(body)},)")
