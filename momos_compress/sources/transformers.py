"""transformers as a library: directories and repositories with a config.json that names a model type."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from momos_compress.errors import SourceError
from momos_compress.sources import hub
from momos_compress.sources.architecture import Architecture, load_transformers
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.origins import attach_architecture, file_checkpoint
from momos_compress.sources.registry import Library
from momos_compress.sources.weights_files import only_weights, open_weights


class Transformers:
    """Directories and repositories whose config.json names a model type."""

    weights_names = hub.TRANSFORMERS_WEIGHTS

    def owns(self, config: Mapping[str, Any]) -> bool:
        """Whether a model type is named."""
        return "model_type" in config

    def architecture(self, config: Mapping[str, Any], directory: Path) -> Architecture:
        """The model class and configuration that the config.json names."""
        return transformers_architecture(config, str(directory))

    def open_directory(
        self, source: str, directory: Path, weights: Path | None, config: Mapping[str, Any], origin: Mapping[str, Any]
    ) -> Checkpoint:
        """Weights under the names their files have, read lazily, with the model class that config.json names."""
        tensors, files = open_weights(weights or only_weights(directory))
        checkpoint = file_checkpoint(source, tensors, files, origin)
        return attach_architecture(checkpoint, transformers_architecture(config, source))


def transformers_architecture(config: Mapping[str, Any], source: str) -> Architecture:
    """The record of the model class that a configuration names.

    Args:
        config: The content of a config.json.
        source: What the configuration came from, for the message.

    Raises:
        SourceError: transformers has no such class.
    """
    classes = config.get("architectures")
    name = classes[0] if isinstance(classes, list) and classes else None
    transformers = load_transformers()
    if not isinstance(getattr(transformers, str(name), None), type):
        raise SourceError(f"{source}: transformers {transformers.__version__} has no model class {name!r}")
    return Architecture.from_json({"library": "transformers", "name": name, "arguments": config})


LIBRARY: Library = Transformers()
