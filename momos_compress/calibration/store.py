"""Matrices by name, kept in a temporary file."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from momos_compress.mosaic.mosaic import spool_out
from momos_compress.tensors.safetensors_writer import tensor_data


class MatrixStore:
    """Named float32 tensors in a temporary file: one at a time is in memory, however many layers there are.

    To store one raises MomosError where the disk is full or fails.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  it lives as long as the store
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._end = 0

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __setitem__(self, name: str, tensor: torch.Tensor) -> None:
        shape = tuple(tensor.shape)
        if name not in self._places or self._places[name][1] != shape:
            self._places[name] = (self._end, shape)
            self._end += 4 * tensor.numel()
        self._file.seek(self._places[name][0])
        spool_out(self._file, tensor_data(tensor.float()), "what the fit keeps in a file")

    def __getitem__(self, name: str) -> torch.Tensor:
        start, shape = self._places[name]
        out = torch.empty(shape, dtype=torch.float32)
        self._file.seek(start)
        self._file.readinto(out.reshape(-1).numpy().view(np.uint8))  # type: ignore[arg-type]  # a buffer, whatever stubs say
        return out

    def names(self) -> tuple[str, ...]:
        """Names of all tensors, in the order they first came."""
        return tuple(self._places)

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Add a tensor to the one of that name, or store it where there is none."""
        self[name] = self[name].to(tensor.device) + tensor if name in self else tensor
