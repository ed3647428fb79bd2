"""A safetensors file as a table of entries, and its tensors one at a time.

The safetensors library checks the header; the data are then read at their offsets. The library's own reader would map
the whole file into memory, whose pages count as the process's until it closes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from momos_compress.errors import FormatError, one_line
from momos_compress.tensors.dtypes import DTYPES

MAX_SIZE = 2**48
"""Bound of the number of values of one tensor."""


@dataclass(frozen=True)
class Entry:
    """Where one stored tensor lies, and what it is.

    Attributes:
        dtype: Its dtype as safetensors names it, a key of ``DTYPES``.
        shape: Its shape as stored.
        offset: First byte of its data, counted from the end of the file's header; for a tensor inside another stored
            tensor, from the beginning of that one.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def torch_dtype(self) -> torch.dtype:
        """The stored dtype."""
        return DTYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        """Size of the stored data in bytes."""
        return self.torch_dtype.itemsize * math.prod(self.shape)

    def tensor(self, data: bytearray) -> torch.Tensor:
        """View the tensor's data, ``nbytes`` of them, as the tensor; it shares their memory."""
        if not data:
            return torch.empty(self.shape, dtype=self.torch_dtype)
        return torch.frombuffer(data, dtype=self.torch_dtype).reshape(self.shape)


@dataclass(frozen=True)
class SafetensorsFile:
    """An opened file, of which only the header has been read.

    Attributes:
        path: The file.
        metadata: The text that its header holds beside the entries.
        entries: Name -> entry in the order of the data; tensors without values, which share offsets, last and by name.
        data_start: Size of the header in bytes, where the data begin.
    """

    path: Path
    metadata: Mapping[str, str]
    entries: Mapping[str, Entry]
    data_start: int

    @classmethod
    def open(cls, path: Path) -> "SafetensorsFile":
        """Read and check the header of a file.

        Raises:
            FormatError: It is not a sound safetensors file, or has a dtype or a shape that no tensor here can have.
        """
        if not path.is_file():
            raise FormatError("no such file" if not path.exists() else "not a regular file")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                views = {name: file.get_slice(name) for name in file.offset_keys()}
                found = {name: (view.get_dtype(), tuple(view.get_shape())) for name, view in views.items()}
            with path.open("rb") as raw:
                data_start = 8 + int.from_bytes(raw.read(8), "little")
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            raise FormatError(f"not a sound safetensors file ({one_line(error)})") from error
        return cls(path, metadata, _entries(found), data_start)

    def read(self, name: str) -> torch.Tensor:
        """Read one tensor, in its stored dtype and shape, into memory of its own.

        Raises:
            FormatError: The file has been removed or cut short since it was opened.
        """
        entry = self.entries[name]
        if entry.nbytes == 0:
            return entry.tensor(bytearray())
        data = bytearray(entry.nbytes)
        try:
            with self.path.open("rb") as file:
                file.seek(self.data_start + entry.offset)
                count = file.readinto(data)
        except OSError as error:
            raise FormatError(f"cannot be read any more ({one_line(error)})") from error
        if count != entry.nbytes:
            raise FormatError("cannot be read any more: the file has become shorter")
        return entry.tensor(data)


def _entries(found: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Entry]:
    """Dtypes and shapes in the order of the data -> checked entries, those without values last."""
    entries: dict[str, Entry] = {}
    empty: dict[str, Entry] = {}
    offset = 0
    for name, (dtype, shape) in found.items():
        if dtype not in DTYPES:
            raise FormatError(f"{name}: unsupported dtype {dtype}")
        # Sizes of zero are skipped: torch computes an empty tensor's strides from its other sizes, which may overflow.
        if len(shape) > 64 or math.prod(size or 1 for size in shape) >= MAX_SIZE:
            raise FormatError(f"{name}: its shape is beyond any tensor's")
        entry = Entry(dtype, shape, offset)
        (entries if entry.nbytes else empty)[name] = entry
        offset += entry.nbytes
    return entries | dict(sorted(empty.items()))
