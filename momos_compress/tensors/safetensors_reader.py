"""A safetensors file as a table of entries, and its tensors one at a time.

The safetensors library checks the header; the data are read at their offsets. Its own reader maps the file, and pages
of a map count as memory until it closes; opening it anew for each tensor would parse the header each time.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from momos_compress.errors import FormatError, one_line
from momos_compress.tensors.dtypes import DTYPES

MAX_SIZE = 2**48


@dataclass(frozen=True)
class Entry:
    """One stored tensor: its dtype as safetensors names it, its shape, and where its data begin.

    offset: behind the header of the file, or within the tensor that holds this one.
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
        """Its data as a tensor, which keeps them."""
        if not data:
            return torch.empty(self.shape, dtype=self.torch_dtype)
        return torch.frombuffer(data, dtype=self.torch_dtype).reshape(self.shape)


class SafetensorsFile:
    """An opened file. entries: in data order (empty tensors, which share an offset, by name). Raises FormatError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise FormatError("no such file" if not path.exists() else "not a regular file")
        try:
            with safe_open(path, framework="pt") as file:
                self.metadata = dict(file.metadata() or {})
                views = {name: file.get_slice(name) for name in file.offset_keys()}
                found = {name: (view.get_dtype(), tuple(view.get_shape())) for name, view in views.items()}
            with path.open("rb") as raw:
                self._data = 8 + int.from_bytes(raw.read(8), "little")
        except (SafetensorError, OSError, ValueError, OverflowError) as error:
            raise FormatError(f"not a sound safetensors file ({one_line(error)})") from error
        self.entries: dict[str, Entry] = {}
        offset = 0
        empty: dict[str, Entry] = {}
        for name, (dtype, shape) in found.items():
            if dtype not in DTYPES:
                raise FormatError(f"{name}: unsupported dtype {dtype}")
            # Without its zeros: an empty tensor's strides are still products of its sizes.
            if len(shape) > 64 or math.prod(size or 1 for size in shape) >= MAX_SIZE:
                raise FormatError(f"{name}: its shape is beyond any tensor's")
            entry = Entry(dtype, shape, offset)
            (self.entries if entry.nbytes else empty)[name] = entry
            offset += entry.nbytes
        self.entries |= dict(sorted(empty.items()))

    def read(self, name: str) -> torch.Tensor:
        """The tensor stored under ``name``, in memory of its own; FormatError where the file has changed since."""
        entry = self.entries[name]
        if entry.nbytes == 0:
            return entry.tensor(bytearray())
        data = bytearray(entry.nbytes)
        try:
            with self.path.open("rb") as file:
                file.seek(self._data + entry.offset)
                count = file.readinto(data)
        except OSError as error:
            raise FormatError(f"cannot be read any more ({one_line(error)})") from error
        if count != entry.nbytes:
            raise FormatError("cannot be read any more: the file has become shorter")
        return entry.tensor(data)
