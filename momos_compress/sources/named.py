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

    Examples:
        >>> from pathlib import Path
        >>> import momos_compress as mc
        >>> mc.NamedSource(lambda: Path("weights.safetensors"), data="digits").data
        'digits'
    """

    path: Callable[[], Path]
    data: str | None = None
    train: str | None = None


NAMED_SOURCES: dict[str, NamedSource] = {}


def register_source(name: str, source: NamedSource) -> None:
    """Give a weights file a name of its own.

    Args:
        name: What ``open_checkpoint`` and the command line take for it.
        source: Where its weights lie, and its data sets.

    Raises:
        ValueError: The name is taken.

    Examples:
        >>> import torch, momos_compress as mc
        >>> from pathlib import Path
        >>> torch.save({"w": torch.ones(4, 4)}, "ones.pth")
        >>> mc.register_source("ones", mc.NamedSource(lambda: Path("ones.pth")))
        >>> mc.open_checkpoint("ones").read("w").shape
        torch.Size([4, 4])
        >>> del NAMED_SOURCES["ones"]
    """
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
