"""Reads compressed files and trusts nothing in them (docs/format.md, "What a reader checks")."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import torch

from momos_compress.coding.protocol import Decoder
from momos_compress.coding.registry import get_coding
from momos_compress.container import affine8
from momos_compress.container.contents import read_contents
from momos_compress.container.recipe import CODEBOOK, COLUMNS, FORMAT_NAME, SCALES, part_of
from momos_compress.errors import FormatError, one_line
from momos_compress.mosaic.codebook import decode_codebook
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.mosaic.scales import apply_scales
from momos_compress.tensors.safetensors_reader import Entry, SafetensorsFile
from momos_compress.tensors.safetensors_writer import tensor_data


class MomosFile:
    """An opened compressed file, a mapping of names to tensors that are decoded one at a time.

    Opening checks the whole recipe and decodes nothing; each tensor is verified when it is read.

    Args:
        path: The compressed file.

    Attributes:
        path: The compressed file.
        recipe: Its settings, each compressed parameter's shape, dtype, layout and distortion, and where it came from.

    Raises:
        FormatError: The file is missing, damaged or not a compressed file. The message names it.

    Examples:
        >>> import momos_compress as mc
        >>> file = mc.MomosFile("digits.momos.safetensors")
        >>> file.get("linear.weight").shape, file.codebook.shape, file.indices("linear.weight").dtype
        (torch.Size([10, 64]), torch.Size([931, 4]), torch.int32)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        # The one constructor here that reads: `MomosFile(path)` is what callers write, and a file that is not sound
        # must be refused before anything is asked of it.
        contents = read_contents(self.path)
        self.recipe, self._stored = contents.recipe, contents.stored

    @property
    def entries(self) -> Mapping[str, Entry]:
        """The stored tensors, the format's own among them: name -> dtype and shape as they are stored."""
        return self._stored.entries

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
        """Decode one tensor.

        Args:
            name: One of ``keys()``.
            device: Where the tensor is wanted; compressed parameters are put together from their motifs there.

        Returns:
            The tensor in the checkpoint's own shape and dtype.

        Raises:
            KeyError: The file has no such tensor.
            FormatError: Its data are damaged. The message names the file and the tensor.
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
        """Decode the mosaic of one compressed parameter: the motif that stands for each of its blocks.

        Args:
            name: A compressed parameter, one of ``recipe.tensors``.
            device: Where the indices are wanted.

        Returns:
            Rows of ``codebook``, (blocks,) int32, in the order of the blocks.

        Raises:
            KeyError: No compressed parameter has this name.
            FormatError: The data are damaged.
        """
        part = part_of(self.recipe.tensors[name])
        stored = self._stored.read(name)
        size = get_coding(self.recipe.coding).stream_bytes(self.recipe.k, part, len(stored))
        if bool(stored[size:].any()):
            raise FormatError("the guard byte is not zero")
        return self._decoder(part, stored[:size].to(device))

    def scale_codes(self, name: str) -> torch.Tensor:
        """The stored scales of a compressed parameter's rows; ``mosaic.scales.scale_values`` turns them into factors.

        Args:
            name: A compressed parameter, one of ``recipe.tensors``.

        Returns:
            (rows,) uint8; (0,) where the parameter has no scales.

        Raises:
            KeyError: No compressed parameter has this name.
            FormatError: The data are damaged.
        """
        return self._scales[name] if self.recipe.tensors[name].scaled else torch.empty(0, dtype=torch.uint8)

    def column_codes(self, name: str) -> torch.Tensor:
        """The stored scales of a compressed parameter's columns, of the same code as those of its rows.

        Args:
            name: A compressed parameter, one of ``recipe.tensors``.

        Returns:
            (columns,) uint8; (0,) where the parameter's columns have no scales.

        Raises:
            KeyError: No compressed parameter has this name.
            FormatError: The data are damaged.
        """
        return self._columns[name] if self.recipe.tensors[name].column_scaled else torch.empty(0, dtype=torch.uint8)

    @cached_property
    def codebook(self) -> torch.Tensor:
        """The motifs, (k, s) float32, most used first.

        Raises:
            FormatError: The data are damaged, or a value is not finite.
        """
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
        """Name of each scaled parameter -> codes of its rows' scales, (rows,) uint8."""
        return self._split(SCALES, {name: tensor.scales for name, tensor in self.recipe.tensors.items()})

    @cached_property
    def _columns(self) -> dict[str, torch.Tensor]:
        """Name of each parameter with scaled columns -> codes of their scales, (columns,) uint8."""
        return self._split(COLUMNS, {name: tensor.columns for name, tensor in self.recipe.tensors.items()})

    def _split(self, stored: str, counts: Mapping[str, int]) -> dict[str, torch.Tensor]:
        """Each parameter's part, by name, of the codes of all that are stored under one name."""
        parts = torch.split(self._stored.read(stored), list(counts.values()))
        return dict(zip(counts, parts, strict=True))

    def _decode(self, tensor: CompressedTensor, device: torch.device) -> torch.Tensor:
        motifs = self.codebook.to(device)
        blocks = motifs[self.indices(tensor.name, device=device).long()]
        apply_scales(blocks, self.scale_codes(tensor.name).to(device), self.column_codes(tensor.name).to(device))
        return tensor.layout.join(blocks, tensor.shape).to(tensor.dtype).contiguous()


def is_container(path: str | Path) -> bool:
    """Whether ``path`` is a file that says it is a compressed one; whether it is sound is checked on opening."""
    try:
        return SafetensorsFile.open(Path(path)).metadata.get("format") == FORMAT_NAME
    except FormatError:
        return False


def open_file(path: str | Path) -> MomosFile:
    """Open a compressed file to read single tensors, or the mosaic itself; nothing is decoded yet.

    Args:
        path: The compressed file.

    Returns:
        The opened file, with ``keys``, ``get``, ``codebook`` (k, s) and ``indices`` (blocks,).

    Raises:
        FormatError: The file is missing, damaged or not a compressed file.

    Examples:
        >>> import momos_compress as mc
        >>> mc.open_file("digits.momos.safetensors").get("linear.weight").shape
        torch.Size([10, 64])
    """
    return MomosFile(path)


def load_file(path: str | Path, device: str | torch.device = "cpu") -> dict[str, torch.Tensor]:
    """Decode all tensors of a compressed file; the counterpart of ``safetensors.torch.load_file``.

    Args:
        path: The compressed file.
        device: Where the tensors are wanted.

    Returns:
        Name -> tensor in the checkpoint's own shape and dtype. Tied tensors are one tensor under each of its names.

    Raises:
        FormatError: The file is missing, damaged or not a compressed file.

    Examples:
        >>> import momos_compress as mc
        >>> tensors = mc.load_file("digits.momos.safetensors")
        >>> tensors["linear.weight"].shape, tensors["linear.bias"].dtype
        (torch.Size([10, 64]), torch.float32)
    """
    file = MomosFile(path)
    tensors = {name: file.get(name, device=device) for name in file.keys() if name not in file.recipe.aliases}  # noqa: SIM118
    return tensors | {name: tensors[target] for name, target in file.recipe.aliases.items()}
