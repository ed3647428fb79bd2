"""A checkpoint: named tensors that are read one at a time, with where they came from."""

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

    Attributes:
        source: What the user named.
        name: What an output file is called after.
        tensors: The tensors, read one at a time.
        source_bytes: Size of the files they came from; of the tensors, where there is no file.
        provenance: Where they came from, ready for JSON.
        architecture: The network that they belong to; None where unknown.
        parameters: Names of the trainable parameters in the order of ``model.parameters()``; None where the
            architecture is unknown or the weights lack some.
        buffers: Names of the tensors that the architecture holds as buffers.
        files: The files they came from.
        warnings: What the user should be told, a line each.
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
