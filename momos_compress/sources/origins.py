"""Builds Checkpoint records: which stored tensors are parameters, how big the source is, where it came from."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from momos_compress.errors import MomosError, SourceError
from momos_compress.sources.address import Address
from momos_compress.sources.architecture import Architecture, timm_architecture
from momos_compress.sources.checkpoint import Checkpoint, describe_files
from momos_compress.sources.registry import weights_suffixes
from momos_compress.tensors.records import Tensors, from_state_dict


def stem(source: str) -> str:
    """The name an output file is called after."""
    name = Address.parse(source).last
    for suffix in weights_suffixes():
        name = name.removesuffix(suffix)
    return name or "model"


def content_revision(paths: list[Path]) -> str:
    """The SHA-256 of a file, or of the names and digests of several."""
    files = [(record["name"], record["sha256"]) for record in describe_files(paths)]
    return "sha256:" + (files[0][1] if len(files) == 1 else hashlib.sha256(repr(files).encode()).hexdigest())


def file_checkpoint(source: str, tensors: Tensors, files: tuple[Path, ...], origin: Mapping[str, Any]) -> Checkpoint:
    """Weights files as a checkpoint without an architecture."""
    size = sum(path.stat().st_size for path in files)
    checkpoint = Checkpoint(source, stem(source), tensors, size, provenance_of(source, files, origin))
    return replace(checkpoint, files=files)


def from_model(
    source: str,
    model: nn.Module,
    files: tuple[Path, ...],
    origin: Mapping[str, Any],
    arguments: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """A timm model's state as a checkpoint."""
    tensors = from_state_dict(model.state_dict())
    architecture = timm_architecture(model, arguments) if hasattr(model, "pretrained_cfg") else None
    size = sum(path.stat().st_size for path in files) or sum(info.nbytes for info in tensors.infos)
    checkpoint = Checkpoint(source, stem(source), tensors, size, provenance_of(source, files, origin), architecture)
    checkpoint = replace(checkpoint, files=files)
    return name_parameters(checkpoint, model)


def random_checkpoint(source: str, architecture: Architecture, seed: int) -> Checkpoint:
    """Seeded random weights of the library's own initialiser, said so in the provenance."""
    checkpoint = from_model(source, architecture.build(seed=seed), (), {"id": architecture.name, "seed": seed})
    provenance = {**checkpoint.provenance, "pretrained": False}
    return replace(checkpoint, architecture=architecture, provenance=provenance)


def attach_architecture(checkpoint: Checkpoint, architecture: Architecture) -> Checkpoint:
    """The checkpoint with an architecture, and its parameters named in that architecture's order."""
    try:
        skeleton = architecture.skeleton()
    except (ValueError, RuntimeError) as error:
        raise MomosError(f"{architecture.name} cannot be built: {error}") from error
    return name_parameters(replace(checkpoint, architecture=architecture), skeleton)


def name_parameters(checkpoint: Checkpoint, model: nn.Module) -> Checkpoint:
    """The checkpoint with its parameters named in the model's order, and its buffers.

    Raises:
        SourceError: A parameter has another shape, or more than half of them are missing.
    """
    shapes = {info.name: info.shape for info in checkpoint.tensors.infos}
    prefix = getattr(model, "base_model_prefix", "")

    def stored(name: str) -> str | None:
        # transformers saves a base model with or without the prefix it has inside a task's model.
        for candidate in (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}.")):
            if candidate in shapes:
                return candidate
        return None

    names: list[str] = []
    missing: list[str] = []
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        found = stored(name)
        if found is not None and shapes[found] != tuple(parameter.shape):
            raise SourceError(
                f"{found} is {shapes[found]} in {checkpoint.source} and {tuple(parameter.shape)} in "
                f"{type(model).__name__}; name the right architecture with `arch`"
            )
        if found is None:
            missing.append(name)
        elif parameter.requires_grad:
            names.append(found)
    buffers = frozenset(filter(None, (stored(name) for name, _ in model.named_buffers())))
    checkpoint = replace(checkpoint, buffers=buffers)
    if 2 * len(missing) > len(parameters):
        raise SourceError(
            f"{checkpoint.source} holds {len(parameters) - len(missing)} of the {len(parameters)} parameters of "
            f"{type(model).__name__} (not {missing[0]}); name the right architecture with `arch`"
        )
    if missing:
        note = f"{len(missing)} parameters of {type(model).__name__} are not in the weights ({missing[0]}, ...)"
        return checkpoint.with_warning(f"{note}: complexity is compared with a Gaussian instead of its initialiser")
    return replace(checkpoint, parameters=tuple(names))


def provenance_of(source: str, files: tuple[Path, ...], origin: Mapping[str, Any]) -> dict[str, Any]:
    """Where weights came from, as it is written into a compressed file."""
    # A file is told by its name alone: where it lay on somebody's disk is nobody else's business.
    shown = Path(source).name if files and Path(source).exists() else source
    return {"source": shown, **origin, "files": describe_files(files), "pretrained": True}
