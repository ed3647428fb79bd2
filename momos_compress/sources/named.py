"""Checkpoints with names of their own, such as the demo."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from momos_compress.sources.address import Address
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.sources.files import dense_file
from momos_compress.sources.origins import content_revision
from momos_compress.sources.registry import Opening, SourceKind


@dataclass(frozen=True)
class NamedSource:
    """A checkpoint with a name of its own.

    Attributes:
        path: Gives its weights file.
        data: Name of the data set to test it on.
        train: Name of the data set to train it on.
    """

    path: Callable[[], Path]
    data: str | None = None
    train: str | None = None


NAMED_SOURCES: dict[str, NamedSource] = {}


def register_source(name: str, source: NamedSource) -> None:
    """Make ``name`` a source; ValueError where the name is taken."""
    if name in NAMED_SOURCES:
        raise ValueError(f"source {name!r} is registered already")
    NAMED_SOURCES[name] = source


class Named:
    """Sources that a package has registered by name."""

    suffixes = ()
    remote = False

    def claims(self, address: Address) -> bool:
        """Whether the text is a registered name."""
        return address.text in NAMED_SOURCES

    def open(self, address: Address, opening: Opening) -> Checkpoint:
        """The registered file, under its name."""
        name = address.text
        checkpoint = dense_file(NAMED_SOURCES[name].path(), opening.arch)
        return replace(checkpoint, source=name, name=name, provenance={**checkpoint.provenance, "source": name})

    def revision(self, address: Address) -> str | None:
        """The digest of the file."""
        return content_revision([NAMED_SOURCES[address.text].path()])

    def repository(self, address: Address) -> str | None:
        """None: the file is here."""
        return None


KIND: SourceKind = Named()
