"""The stored tensors of a compressed file by name, in the bundle or beside it, each verified when it is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from momos_compress.container.bundle import bundle_bytes
from momos_compress.container.recipe import BUNDLE, RECIPE
from momos_compress.errors import FormatError
from momos_compress.tensors.safetensors_reader import Entry, SafetensorsFile
from momos_compress.tensors.safetensors_writer import DIGEST_HEX, checksum, tensor_data


@dataclass(frozen=True)
class Stored:
    """The tensors of one file.

    Attributes:
        file: The safetensors file they lie in.
        digests: Name of each of its own tensors -> its checksum, ``DIGEST_HEX`` hexadecimal digits.
        entries: Name -> dtype and shape as stored, in data order. Includes the bundled tensors after ``unbundled``.
        bundled: The entries that lie in the bundle, with their offsets in it.
    """

    file: SafetensorsFile
    digests: Mapping[str, str]
    entries: Mapping[str, Entry]
    bundled: Mapping[str, Entry] = field(default_factory=dict)

    def unbundled(self, bundle: Mapping[str, Entry]) -> "Stored":
        """The same file with its bundled tensors listed beside the others.

        Args:
            bundle: Name -> entry of each bundled tensor, as the recipe lists them.

        Raises:
            FormatError: The bundle is missing or has another size, or one of its names is stored beside it too.
        """
        self.check_bytes(BUNDLE, bundle_bytes(bundle))
        twice = sorted(bundle.keys() & self.entries.keys())
        if twice:
            raise FormatError(f"{twice[0]}: in the bundle, and beside it")
        entries = {**self.entries, **bundle}
        shown = entries.keys() - {BUNDLE, RECIPE}
        # The order of a file without a bundle: tensors without values come last.
        empty = sorted(name for name in shown if not entries[name].nbytes)
        order = [*sorted(shown - set(empty), key=lambda name: _place(name, entries[name])), *empty]
        return replace(self, entries={name: entries[name] for name in order}, bundled=bundle)

    def check_bytes(self, name: str, size: int | None = None) -> int:
        """Check that a tensor is a vector of bytes (U8), and return its length.

        Args:
            name: The stored tensor.
            size: The length it must have; None allows any.

        Raises:
            FormatError: It is missing, has another dtype or shape, or another length.
        """
        entry = self.entries.get(name)
        if entry is None or entry.dtype != "U8" or len(entry.shape) != 1 or size not in (None, entry.nbytes):
            stored = "missing" if entry is None else f"{entry.dtype} {entry.shape}"
            raise FormatError(f"{name!r} is {stored}, not U8 ({'bytes' if size is None else size},)")
        return entry.nbytes

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor, in its stored dtype and shape, into memory of its own.

        The bundle is verified as a whole, when the first tensor in it is read.

        Raises:
            FormatError: The data do not match their checksum, or the file has changed since it was opened.
        """
        entry = self.bundled.get(name)
        if entry is not None:
            return entry.tensor(bytearray(self._bundle[entry.offset : entry.offset + entry.nbytes]))
        entry, tensor = self.file.entries[name], self.file.read(name)
        digest = checksum(name, entry.dtype, entry.shape)
        digest.update(tensor_data(tensor))
        if digest.hexdigest() != self.digests[name]:
            raise FormatError("the data do not match their checksum: the file is damaged")
        return tensor

    @cached_property
    def _bundle(self) -> bytes:
        return tensor_data(self.read(BUNDLE))


def stored_in(file: SafetensorsFile, digests: str) -> Stored:
    """The tensors of a file with their checksums.

    Args:
        file: The opened safetensors file.
        digests: The checksums of all tensors, in the format's order, then that of the recipe, as one string.

    Raises:
        FormatError: The string has another length than that.
    """
    if len(digests) != DIGEST_HEX * (len(file.entries) + 1):
        raise FormatError(f"{len(digests)} digits of checksums do not fit {len(file.entries)} tensors and the recipe")
    # The format's order places empty tensors among the others; `entries` has them last.
    order = sorted(file.entries, key=lambda name: _place(name, file.entries[name]))
    by_name = {name: digests[i * DIGEST_HEX : (i + 1) * DIGEST_HEX] for i, name in enumerate(order)}
    return Stored(file, by_name, file.entries)


def _place(name: str, entry: Entry) -> tuple[int, str]:
    """Sort key of the format's order: falling item size, then name."""
    return -entry.torch_dtype.itemsize, name
