"""The plug-in points of this room: kinds of sources, and model libraries. One table each.

A row is an object, or "module:object" where importing it early would be slow. A package adds rows with
``register_source_kind`` and ``register_library``; a taken name raises ValueError.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from momos_compress.sources.address import Address
from momos_compress.sources.architecture import Architecture
from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Opening:
    """How a source is opened.

    Attributes:
        arch: timm architecture of a weights file that names none.
        pretrained: False takes seeded random weights in place of the published ones.
        seed: Seed of the random weights.
    """

    arch: str | None = None
    pretrained: bool = True
    seed: int = 0


class SourceKind(Protocol):
    """One way to name a checkpoint: a file, a directory, a model's name, a repository."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of the weights files that this kind reads, with their dots; empty where it reads no single file."""

    @property
    def remote(self) -> bool:
        """Whether its weights may have to be downloaded."""

    def claims(self, address: Address) -> bool:
        """Whether ``address`` names a source of this kind. Asks the file system at most, never a network."""

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        """The checkpoint, its tensors not yet read.

        Raises:
            SourceError: It cannot be found, reached or read.
        """

    def revision(self, address: Address) -> str | None:
        """What the weights are at now (a commit, an address, a digest), without reading them; None if unknown."""

    def repository(self, address: Address) -> str | None:
        """The remote place that the published weights come from; None where they are on this machine."""


class Library(Protocol):
    """A model library: which directories and repositories are its own, and what they hold."""

    @property
    def weights_names(self) -> tuple[str, ...]:
        """Names of its weights files (or of an index of shards), the preferred one first."""

    def owns(self, config: Mapping[str, Any]) -> bool:
        """Whether a config.json with this content was written by the library."""

    def architecture(self, config: Mapping[str, Any], directory: Path) -> Architecture:
        """The network that the config.json in ``directory`` names.

        Raises:
            SourceError: The library cannot build it.
        """

    def open_directory(
        self, source: str, directory: Path, weights: Path | None, config: Mapping[str, Any], origin: Mapping[str, Any]
    ) -> Checkpoint:
        """The weights of a directory, with their network.

        Args:
            source: What the user named; it is what the checkpoint says of itself.
            directory: Where config.json lies.
            weights: The first of ``weights_names`` that is there; None where none is.
            config: The content of config.json.
            origin: Where the weights came from, for the provenance.

        Raises:
            SourceError: The weights are missing, damaged, or do not fit the network.
        """


@dataclass(frozen=True)
class Source:
    """A parsed source: what the user wrote, and the kind that claims it."""

    address: Address
    kind: SourceKind

    def open(self, opening: Opening | None = None) -> Checkpoint:
        """The checkpoint; SourceError where there is none."""
        return self.kind.open(self.address, opening or Opening())

    def revision(self) -> str | None:
        """What its weights are at now; None where nobody says."""
        return self.kind.revision(self.address)

    def repository(self) -> str | None:
        """The remote place its published weights come from; None where they are on this machine."""
        return self.kind.repository(self.address)


KINDS: dict[str, SourceKind | str] = {
    "unknown": "momos_compress.sources.unknown:KIND",
    "hub": "momos_compress.sources.repositories:KIND",
    "timm": "momos_compress.sources.timm:KIND",
    "file": "momos_compress.sources.files:KIND",
    "directory": "momos_compress.sources.directories:KIND",
    "gguf": "momos_compress.sources.gguf:KIND",
    "named": "momos_compress.sources.named:KIND",
}
"""Kinds of sources from the most general to the most special: the last row is asked first."""

LIBRARIES: dict[str, Library | str] = {
    "timm": "momos_compress.sources.timm_library:LIBRARY",
    "transformers": "momos_compress.sources.transformers:LIBRARY",
}
"""Model libraries whose directories and repositories can be opened."""


def register_source_kind(name: str, kind: SourceKind | str) -> None:
    """Add a kind of source; it is asked before all that are there.

    Args:
        name: A name for messages and tests.
        kind: The kind, or "module:object" where it lies.

    Raises:
        ValueError: The name is taken.

    Examples:
        >>> import momos_compress as mc
        >>> mc.register_source_kind("file", "somewhere:KIND")
        Traceback (most recent call last):
            ...
        ValueError: source kind 'file' is registered already
    """
    _register(KINDS, name, kind, "source kind")


def register_library(name: str, library: Library | str) -> None:
    """Add a model library.

    Args:
        name: What recipes call it.
        library: The library, or "module:object" where it lies.

    Raises:
        ValueError: The name is taken.

    Examples:
        >>> import momos_compress as mc
        >>> mc.register_library("timm", "somewhere:LIBRARY")
        Traceback (most recent call last):
            ...
        ValueError: library 'timm' is registered already
    """
    _register(LIBRARIES, name, library, "library")


def parse(text: str) -> Source:
    """The source that ``text`` names; the kind "unknown" claims what no other does."""
    address = Address.parse(text)
    return next(Source(address, kind) for kind in reversed(rows(KINDS)) if kind.claims(address))


def library_of(config: Mapping[str, Any]) -> Library | None:
    """The library that a config.json belongs to; None where none claims it."""
    return next((library for library in rows(LIBRARIES) if library.owns(config)), None)


def weights_suffixes() -> tuple[str, ...]:
    """The endings of all weights files that some kind reads, each once."""
    return tuple(dict.fromkeys(suffix for kind in rows(KINDS) for suffix in kind.suffixes))


def weights_names() -> tuple[str, ...]:
    """The names of all libraries' weights files, each once."""
    return tuple(dict.fromkeys(name for library in rows(LIBRARIES) for name in library.weights_names))


Row = TypeVar("Row")


def rows(table: Mapping[str, Row | str]) -> list[Row]:
    """The objects of a table in its order, imported where a row names one."""
    return [pkgutil.resolve_name(row) if isinstance(row, str) else row for row in table.values()]


def _register(table: dict[str, Row | str], name: str, row: Row | str, what: str) -> None:
    if name in table:
        raise ValueError(f"the {what} {name!r} is registered already")
    table[name] = row
