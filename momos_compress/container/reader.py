"""Reads the container and trusts nothing in it (docs/format.md, "What a reader checks")."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import torch

from momos_compress.coding.protocol import Decoder
from momos_compress.coding.registry import get_coding
from momos_compress.container import affine8
from momos_compress.container.bundle import inflate
from momos_compress.container.recipe import (
    CODEBOOK,
    FORMAT_NAME,
    FORMAT_VERSION,
    MAX_RECIPE_BYTES,
    RECIPE,
    SCALES,
    part_of,
    recipe_checksum,
)
from momos_compress.container.recipe_parser import Record, features_of, parse_recipe, parse_text
from momos_compress.container.stored import Stored
from momos_compress.errors import FormatError, one_line
from momos_compress.mosaic.codebook import CODEBOOK_DTYPES, decode_codebook
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.mosaic.scales import scale_values
from momos_compress.tensors.safetensors_reader import Entry, SafetensorsFile
from momos_compress.tensors.safetensors_writer import DIGEST_HEX, tensor_data


class MomosFile:
    """An opened container. Tensors are decoded one at a time, each verified when it is read.

    >>> file = open("resnet50.momos.safetensors")  # doctest: +SKIP
    >>> file.get("conv1.weight").shape  # doctest: +SKIP
    torch.Size([64, 3, 7, 7])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            file = SafetensorsFile(self.path)
            record, self._stored = _open(file)
            features = features_of(record)
            if "bundle" in features:
                self._stored.check_bytes(RECIPE)
                record = parse_text(inflate(tensor_data(self._stored.read(RECIPE)), MAX_RECIPE_BYTES))
            self.recipe = parse_recipe(record, features, file.entries)
            if self.recipe.bundle is not None:
                self._stored.unbundle(self.recipe.bundle)
            self._check()
        except FormatError as error:
            raise FormatError(f"{self.path}: {one_line(error)}") from error

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The stored tensors, with the format's own: name -> dtype and shape as they are stored."""
        return self._stored.entries

    def _check(self) -> None:
        recipe = self.recipe
        codebook = self.entries.get(CODEBOOK)
        if codebook is None:
            raise FormatError(f"the codebook {CODEBOOK!r} is missing")
        kind = "float" if recipe.codebook_step is None else "I8"
        fits = codebook.torch_dtype in CODEBOOK_DTYPES.values() and (codebook.dtype == "I8") == (kind == "I8")
        if codebook.shape != (recipe.k, recipe.s) or not fits:
            raise FormatError(f"the codebook is {codebook.dtype} {codebook.shape}, not {kind} ({recipe.k}, {recipe.s})")
        if SCALES in recipe.reserved:
            self._stored.check_bytes(SCALES, recipe.scales)
        coding = get_coding(recipe.coding)
        coding.check_tables(recipe.k, recipe.parts, {name: self._stored.check_bytes(name) for name in coding.tables})
        for tensor in recipe.tensors.values():
            self._check_mosaic(tensor)
        for name in recipe.cast:
            entry = self.entries.get(name)
            if entry is None or entry.dtype != "F16" or name in recipe.tensors or name in recipe.reserved:
                raise FormatError(f"{name}: listed as stored in F16, and is not")
        for name in recipe.affine8:
            if name in recipe.tensors or name in recipe.reserved or name in recipe.cast:
                raise FormatError(f"{name}: listed as stored in a byte a value, and is not")
            if self._stored.check_bytes(name) <= affine8.HEADER_BYTES:
                raise FormatError(f"{name}: listed as stored in a byte a value, and holds none")
        stored_names = self.entries.keys() - recipe.reserved
        for name, target in recipe.aliases.items():
            if name in recipe.reserved or name in stored_names or target not in stored_names:
                raise FormatError(f"{name}: an alias of {target!r}, which cannot be")

    def _check_mosaic(self, tensor: CompressedTensor) -> None:
        name = tensor.name
        if name in self.recipe.reserved:
            raise FormatError(f"{name}: a parameter under a name of the format's own")
        size = self._stored.check_bytes(name)
        try:
            body = get_coding(self.recipe.coding).stream_bytes(self.recipe.k, part_of(tensor), size)
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from error
        if tensor.guarded(body) != size:
            raise FormatError(f"{name}: its mosaic is U8 ({size},), not U8 ({tensor.guarded(body)},)")

    def keys(self) -> tuple[str, ...]:
        """Names of the checkpoint's tensors: compressed ones first, in block order, then the others, then aliases."""
        own = self.recipe.reserved | self.recipe.tensors.keys()
        others = [name for name in self.entries if name not in own]
        return (*self.recipe.tensors, *others, *self.recipe.aliases)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: str) -> bool:
        return name in self.keys()

    def get(self, name: str, *, device: str | torch.device = "cpu") -> torch.Tensor:
        """Decode one tensor in its own shape and dtype.

        Raises KeyError for an unknown name and FormatError for damaged data.
        """
        name = self.recipe.aliases.get(name, name)
        if name in self.recipe.reserved or name not in self.entries:
            raise KeyError(name)
        try:
            compressed = self.recipe.tensors.get(name)
            if compressed is not None:
                return self._decode(compressed, torch.device(device))
            tensor = self._stored.read(name)
            if name in self.recipe.affine8:
                return affine8.decode(tensor).to(device=device, dtype=self.recipe.affine8[name])
            return tensor.to(device=device, dtype=self.recipe.cast.get(name, tensor.dtype))
        except FormatError as error:
            raise FormatError(f"{self.path}: {one_line(f'{name}: {error}')}") from error

    def indices(self, name: str, *, device: str | torch.device = "cpu") -> torch.Tensor:
        """The mosaic of one compressed parameter: motif indices (blocks,) int32."""
        part = part_of(self.recipe.tensors[name])
        stored = self._stored.read(name)
        size = get_coding(self.recipe.coding).stream_bytes(self.recipe.k, part, len(stored))
        if bool(stored[size:].any()):
            raise FormatError("the guard byte is not zero")
        return self._decoder(part, stored[:size].to(device))

    def scale_codes(self, name: str) -> torch.Tensor:
        """Codes of the scales of a compressed parameter's rows: (rows,) uint8, (0,) where it has none."""
        return self._scales[name] if self.recipe.tensors[name].scaled else torch.empty(0, dtype=torch.uint8)

    @cached_property
    def codebook(self) -> torch.Tensor:
        """The motifs (k, s) float32, most used first."""
        motifs = decode_codebook(self._stored.read(CODEBOOK), self.recipe.codebook_step)
        if not bool(torch.isfinite(motifs).all()):
            raise FormatError("the codebook holds a value that is not finite")
        return motifs

    @cached_property
    def _decoder(self) -> Decoder:
        def table(name: str) -> bytes:
            return tensor_data(self._stored.read(name))

        return get_coding(self.recipe.coding).decoder(self.recipe.k, self.recipe.parts, table)

    @cached_property
    def _scales(self) -> dict[str, torch.Tensor]:
        """Codes of the scales of each scaled tensor: name -> (rows,) uint8."""
        scaled = [tensor for tensor in self.recipe.tensors.values() if tensor.scaled]
        parts = torch.split(self._stored.read(SCALES), [tensor.scales for tensor in scaled])
        return {tensor.name: part for tensor, part in zip(scaled, parts, strict=True)}

    def _decode(self, tensor: CompressedTensor, device: torch.device) -> torch.Tensor:
        motifs = self.codebook.to(device)
        blocks = motifs[self.indices(tensor.name, device=device).long()]
        if tensor.scaled:
            rows = scale_values(self.scale_codes(tensor.name).to(device))
            blocks.view(len(rows), -1).mul_(rows[:, None])
        return tensor.layout.join(blocks, tensor.shape).to(tensor.dtype).contiguous()


def _open(file: SafetensorsFile) -> tuple[Record, Stored]:
    """The recipe as the metadata hold it, and the tensors with their checksums."""
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
    stored = Stored(file, digests)
    if digests[-DIGEST_HEX:] != recipe_checksum(text):
        raise FormatError("the recipe does not match its checksum: the file is damaged")
    return parse_text(text), stored


def is_container(path: str | Path) -> bool:
    """Whether ``path`` is a file that says it is a MoMos container; its soundness is checked on opening."""
    try:
        return SafetensorsFile(Path(path)).metadata.get("format") == FORMAT_NAME
    except FormatError:
        return False


def open(path: str | Path) -> MomosFile:
    """Open a container for reading single tensors; raises FormatError where it is not sound."""
    return MomosFile(path)


def load_file(path: str | Path, device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    """All tensors of a compressed file, decoded: name -> tensor, as ``safetensors.torch.load_file`` gives them.

    Tied tensors come back as one tensor under each of its names.
    """
    file = MomosFile(path)
    tensors = {name: file.get(name, device=device) for name in file.keys() if name not in file.recipe.aliases}  # noqa: SIM118
    return tensors | {name: tensors[target] for name, target in file.recipe.aliases.items()}
