"""The stored tensors of a container by their names, wherever they lie, each verified when it is read."""

from collections.abc import Mapping
from functools import cached_property

import torch

from momos_compress.container.bundle import bundle_bytes
from momos_compress.container.recipe import BUNDLE, RECIPE
from momos_compress.errors import FormatError
from momos_compress.tensors.safetensors_reader import Entry, SafetensorsFile
from momos_compress.tensors.safetensors_writer import DIGEST_HEX, checksum, tensor_data


class Stored:
    """The tensors of one file. entries: name -> entry, in data order; after ``unbundle`` those of the bundle too."""

    def __init__(self, file: SafetensorsFile, digests: str) -> None:
        if len(digests) != DIGEST_HEX * (len(file.entries) + 1):
            raise FormatError(
                f"{len(digests)} digits of checksums do not fit {len(file.entries)} tensors and the recipe"
            )
        self._file, self.entries = file, file.entries
        self._bundled: Mapping[str, Entry] = {}
        # The format's own order, in which empty tensors have a place too.
        order = sorted(file.entries, key=self._place)
        self._digests = {name: digests[i * DIGEST_HEX : (i + 1) * DIGEST_HEX] for i, name in enumerate(order)}

    def unbundle(self, bundle: Mapping[str, Entry]) -> None:
        """Show the bundle's tensors in place of it and of the recipe."""
        self.check_bytes(BUNDLE, bundle_bytes(bundle))
        twice = sorted(bundle.keys() & self.entries.keys())
        if twice:
            raise FormatError(f"{twice[0]}: in the bundle, and beside it")
        self.entries = {**self.entries, **bundle}
        shown = self.entries.keys() - {BUNDLE, RECIPE}
        # As a file without a bundle shows them: those without values last.
        empty = sorted(name for name in shown if not self.entries[name].nbytes)
        order = [*sorted(shown - set(empty), key=self._place), *empty]
        self.entries = {name: self.entries[name] for name in order}
        self._bundled = bundle

    def check_bytes(self, name: str, size: int | None = None) -> int:
        """The length of a tensor of bytes; FormatError where it is none, or has another length than ``size``."""
        entry = self.entries.get(name)
        if entry is None or entry.dtype != "U8" or len(entry.shape) != 1 or size not in (None, entry.nbytes):
            stored = "missing" if entry is None else f"{entry.dtype} {entry.shape}"
            raise FormatError(f"{name!r} is {stored}, not U8 ({'bytes' if size is None else size},)")
        return entry.nbytes

    def read(self, name: str) -> torch.Tensor:
        """One tensor, in memory of its own. A bundle is verified as a whole when the first tensor of it is read."""
        entry = self._bundled.get(name)
        if entry is not None:
            return entry.tensor(bytearray(self._bundle[entry.offset : entry.offset + entry.nbytes]))
        entry, tensor = self._file.entries[name], self._file.read(name)
        digest = checksum(name, entry.dtype, entry.shape)
        digest.update(tensor_data(tensor))
        if digest.hexdigest() != self._digests[name]:
            raise FormatError("the data do not match their checksum: the file is damaged")
        return tensor

    @cached_property
    def _bundle(self) -> bytes:
        return tensor_data(self.read(BUNDLE))

    def _place(self, name: str) -> tuple[int, str]:
        return -self.entries[name].torch_dtype.itemsize, name
