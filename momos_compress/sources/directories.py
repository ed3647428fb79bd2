"""Directories as sources: what a model library has written, or weights alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from momos_compress.errors import SourceError
from momos_compress.sources import hub
from momos_compress.sources.address import DIRECTORY_SCHEME, Address
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.files import dense_file
from momos_compress.sources.origins import content_revision, random_checkpoint, stem
from momos_compress.sources.registry import Opening, SourceKind, library_of, weights_names, weights_suffixes
from momos_compress.sources.weights_files import only_weights


class Directory:
    """A directory with weights and, where a library wrote it, a config.json."""

    suffixes = ()
    remote = False

    def claims(self, address: Address) -> bool:
        """Whether the address is written as a directory, or is one."""
        return address.scheme == DIRECTORY_SCHEME or (not address.scheme and address.path.is_dir())

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        """Its weights, with the network that its config.json names."""
        if not address.scheme:
            return _opened(address.path, opening)
        if not address.where:
            raise SourceError(f"{address.text!r} names no model; write {DIRECTORY_SCHEME}:PATH")
        if not address.path.is_dir():
            raise SourceError(f"no directory {address.where!r}")
        return replace(_opened(address.path, replace(opening, arch=None)), source=address.text)

    def revision(self, address: Address) -> str | None:
        """The digest of its weights and settings."""
        if not address.path.is_dir():
            return None
        wanted = (".json", *weights_suffixes())
        return content_revision(sorted(path for path in address.path.iterdir() if path.suffix in wanted))

    def repository(self, address: Address) -> str | None:
        """None: the directory is here."""
        return None


def _opened(directory: Path, opening: Opening) -> Checkpoint:
    config_path = directory / "config.json"
    config: dict[str, Any] = hub.read_config(config_path) if config_path.is_file() else {}
    library = library_of(config)
    if not opening.pretrained:
        if library is None:
            raise SourceError(
                f"{directory} has no config.json of a known library, so `pretrained=False` knows no architecture "
                "to fill"
            )
        return random_checkpoint(str(directory), library.architecture(config, directory), opening.seed)
    names = library.weights_names if library else weights_names()
    weights = next((directory / name for name in names if (directory / name).is_file()), None)
    if library is not None:
        origin = {"id": str(config.get("architecture", directory.name))}
        return library.open_directory(str(directory), directory, weights, config, origin)
    checkpoint = dense_file(weights or only_weights(directory), opening.arch)
    return replace(checkpoint, source=str(directory), name=stem(str(directory.resolve())))


KIND: SourceKind = Directory()
