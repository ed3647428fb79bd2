"""What the peers of a rate-accuracy comparison share: the dense file they start from, what each leaves behind.

Runs under a peer's own interpreter too, so it imports nothing of this project and of others only numpy and safetensors.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


@dataclass(frozen=True)
class Dense:
    """A dense checkpoint; a peer codes the floating tensors, the integer ones (counters, positions) pass through."""

    stem: str
    floats: dict[str, np.ndarray]
    integers: dict[str, np.ndarray]
    metadata: dict[str, str] | None

    @property
    def integer_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.integers.values())


def read(path: Path) -> Dense:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    floats = {name: tensor for name, tensor in tensors.items() if np.issubdtype(tensor.dtype, np.floating)}
    integers = {name: tensor for name, tensor in tensors.items() if name not in floats}
    return Dense(path.stem, floats, integers, metadata)


def write(directory: Path, name: str, source: Dense, decoded: Mapping[str, np.ndarray]) -> None:
    """`directory/STEM/NAME.safetensors`: the decoded tensors under their own names, shapes and dtypes.

    The source's metadata goes along: it names the architecture, which an evaluation needs.
    """
    if decoded.keys() != source.floats.keys():
        differing = ", ".join(sorted(decoded.keys() ^ source.floats.keys()))
        raise ValueError(f"{source.stem}: {name} does not return the tensors it was given; they differ in {differing}")
    tensors = dict(source.integers)
    for key, original in source.floats.items():
        tensors[key] = np.ascontiguousarray(decoded[key].reshape(original.shape).astype(original.dtype))
        if not np.isfinite(tensors[key]).all():
            raise ValueError(f"{source.stem} {key} {original.shape}: not finite after {name}")
    path = directory / source.stem / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, source.metadata)


def append(path: Path, row: Mapping[str, object]) -> None:
    """Each row is on disk, and on the screen, the moment it exists."""
    line = json.dumps(row)
    with path.open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)


def relative_error(source: Dense, decoded: Mapping[str, np.ndarray], names: Iterable[str]) -> float:
    """Squared error over energy, both summed over the named tensors."""
    error = energy = 0.0
    for name in names:
        original = source.floats[name].astype(np.float64)
        error += float(np.square(original - decoded[name].reshape(original.shape)).sum())
        energy += float(np.square(original).sum())
    return error / energy


def read_rows(path: Path) -> list[dict[str, Any]]:
    """What ``append`` has left; nothing where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
