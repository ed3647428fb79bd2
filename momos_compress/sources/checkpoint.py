"""A checkpoint: a lazily read sequence of named tensors, with where they came from.

Nothing here knows of hubs or architectures' libraries: ``sources`` finds files and builds these records.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from momos_compress.sources.architecture import Architecture
from momos_compress.tensors.records import Tensors


@dataclass(frozen=True)
class Checkpoint:
    """Weights to work on.

    parameters: names of the trainable parameters in ``model.parameters()`` order; None where no architecture is known.
    buffers: names that the architecture holds as buffers.
    source_bytes: size of the files the weights came from (or of the tensors, where there is no file).
    """

    source: str
    name: str
    tensors: Tensors
    source_bytes: int
    provenance: dict[str, Any]
    architecture: Architecture | None = None
    parameters: tuple[str, ...] | None = None
    buffers: frozenset[str] = frozenset()
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    def read(self, name: str) -> torch.Tensor:
        """The tensor stored under ``name``."""
        return self.tensors.read(name)

    def with_warning(self, message: str) -> "Checkpoint":
        """The same checkpoint with one more warning."""
        return replace(self, warnings=(*self.warnings, message))


def describe_files(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Name, size in bytes and SHA-256 of each file, for the provenance."""
    described = []
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
        described.append({"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()})
    return described


def _digest(file: Any) -> Any:
    digest = hashlib.sha256()
    while part := file.read(2**20):
        digest.update(part)
    return digest
