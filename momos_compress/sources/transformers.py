"""Hugging Face transformers models: a directory or hub repository with a config.json that names a model type."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from momos_compress.errors import SourceError
from momos_compress.sources import hub
from momos_compress.sources.architecture import Architecture, load_transformers
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.origins import attach_architecture, file_checkpoint
from momos_compress.sources.weights_files import open_weights, shard_names


def from_transformers(
    source: str, weights: Path, config: dict[str, Any], origin: Mapping[str, Any], repo: str | None = None
) -> Checkpoint:
    """Weights under the names their files have, read lazily, with the model class their config.json names."""
    if weights.name.endswith(".index.json") and repo is not None:
        for shard in shard_names(weights):
            hub.fetch_first(repo, (shard,))
    tensors, files = open_weights(weights)
    checkpoint = file_checkpoint(source, tensors, files, origin)
    return attach_architecture(checkpoint, transformers_architecture(config, source))


def transformers_architecture(config: Mapping[str, Any], source: str) -> Architecture:
    """The model class and configuration that a config.json names."""
    classes = config.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else None
    transformers = load_transformers()
    if not isinstance(getattr(transformers, str(name), None), type):
        raise SourceError(f"{source}: transformers {transformers.__version__} has no model class {name!r}")
    return Architecture.from_json({"library": "transformers", "name": name, "arguments": config})
