"""Reads the container and trusts nothing in it (docs/format.md, "What a reader checks")."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch

from momos_compress.codebook import CODEBOOK_DTYPES, decode_codebook
from momos_compress.container import (
    CODEBOOK,
    DIGEST_HEX,
    FORMAT_NAME,
    FORMAT_VERSION,
    SCALES,
    CompressedTensor,
    Recipe,
    checksum,
    recipe_checksum,
)
from momos_compress.errors import FormatError, one_line
from momos_compress.packing import index_bits, packed_bytes, unpack
from momos_compress.safetensors_file import SafetensorsFile
from momos_compress.scales import scale_values
from momos_compress.writer import tensor_data


class MomosFile:
    """An opened container. Tensors are decoded one at a time, each verified when it is read.

    >>> file = open("resnet50.momos.safetensors")  # doctest: +SKIP
    >>> file.get("conv1.weight").shape  # doctest: +SKIP
    torch.Size([64, 3, 7, 7])
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self._file = SafetensorsFile(self.path)
            self.entries = self._file.entries
            self.recipe = self._open()
            self._check()
        except FormatError as error:
            raise FormatError(f"{self.path}: {one_line(error)}") from error

    def _open(self) -> Recipe:
        metadata = self._file.metadata
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
        if len(digests) != DIGEST_HEX * (len(self.entries) + 1):
            raise FormatError(
                f"{len(digests)} digits of checksums do not fit {len(self.entries)} tensors and the recipe"
            )
        if digests[-DIGEST_HEX:] != recipe_checksum(text):
            raise FormatError("the recipe does not match its checksum: the file is damaged")
        # The format's own order, in which empty tensors have a place too.
        order = sorted(self.entries, key=lambda name: (-self.entries[name].torch_dtype.itemsize, name))
        self._digests = {name: digests[i * DIGEST_HEX : (i + 1) * DIGEST_HEX] for i, name in enumerate(order)}
        halves = [name for name, entry in self.entries.items() if entry.dtype == "F16"]
        return Recipe.from_json(text, halves)

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
            scales = self.entries.get(SCALES)
            if scales is None or scales.dtype != "U8" or scales.shape != (recipe.scales,):
                stored = "missing" if scales is None else f"{scales.dtype} {scales.shape}"
                raise FormatError(f"{SCALES!r} is {stored}, not U8 ({recipe.scales},)")
        for name, tensor in recipe.tensors.items():
            if name in recipe.reserved:
                raise FormatError(f"{name}: a parameter under a name of the format's own")
            entry = self.entries.get(name)
            if entry is None or entry.dtype != "U8" or entry.shape != (tensor.stored_bytes(recipe.k),):
                stored = "missing" if entry is None else f"{entry.dtype} {entry.shape}"
                raise FormatError(f"{name}: its mosaic is {stored}, not U8 ({tensor.stored_bytes(recipe.k)},)")
        for name in recipe.cast:
            entry = self.entries.get(name)
            if entry is None or entry.dtype != "F16" or name in recipe.tensors or name in recipe.reserved:
                raise FormatError(f"{name}: listed as stored in F16, and is not")
        stored_names = self.entries.keys() - recipe.reserved
        for name, target in recipe.aliases.items():
            if name in recipe.reserved or name in stored_names or target not in stored_names:
                raise FormatError(f"{name}: an alias of {target!r}, which cannot be")

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
            tensor = self._read(name)
            return tensor.to(device=device, dtype=self.recipe.cast.get(name, tensor.dtype))
        except FormatError as error:
            raise FormatError(f"{self.path}: {one_line(f'{name}: {error}')}") from error

    def indices(self, name: str, *, device: str | torch.device = "cpu") -> torch.Tensor:
        """The mosaic of one compressed parameter: motif indices (blocks,) int32."""
        tensor = self.recipe.tensors[name]
        bits = index_bits(self.recipe.k)
        stored = self._read(name)
        size = packed_bytes(tensor.blocks, bits)
        if bool(stored[size:].any()):
            raise FormatError("the guard byte is not zero")
        indices = unpack(stored[:size].to(device), tensor.blocks, bits)
        if int(indices.max()) >= self.recipe.k:
            raise FormatError(f"index {int(indices.max())} where there are {self.recipe.k} motifs")
        return indices

    @cached_property
    def codebook(self) -> torch.Tensor:
        """The motifs (k, s) float32, most used first."""
        motifs = decode_codebook(self._read(CODEBOOK), self.recipe.codebook_step)
        if not bool(torch.isfinite(motifs).all()):
            raise FormatError("the codebook holds a value that is not finite")
        return motifs

    @cached_property
    def _scales(self) -> dict[str, torch.Tensor]:
        """Codes of the scales of each scaled tensor: name -> (rows,) uint8."""
        scaled = [tensor for tensor in self.recipe.tensors.values() if tensor.scaled]
        parts = torch.split(self._read(SCALES), [tensor.scales for tensor in scaled])
        return {tensor.name: part for tensor, part in zip(scaled, parts, strict=True)}

    def _decode(self, tensor: CompressedTensor, device: torch.device) -> torch.Tensor:
        motifs = self.codebook.to(device)
        blocks = motifs[self.indices(tensor.name, device=device).long()]
        if tensor.scaled:
            rows = scale_values(self._scales[tensor.name].to(device))
            blocks.view(len(rows), -1).mul_(rows[:, None])
        return tensor.layout.join(blocks, tensor.shape).to(tensor.dtype).contiguous()

    def _read(self, name: str) -> torch.Tensor:
        entry, tensor = self.entries[name], self._file.read(name)
        digest = checksum(name, entry.dtype, entry.shape)
        digest.update(tensor_data(tensor))
        if digest.hexdigest() != self._digests[name]:
            raise FormatError("the data do not match their checksum: the file is damaged")
        return tensor


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
