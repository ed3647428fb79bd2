"""What a user writes to name a checkpoint, taken apart once."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

HUB_SCHEMES = ("hf-hub", "hf_hub")
DIRECTORY_SCHEME = "local-dir"
PREFIXES = tuple(f"{scheme}:" for scheme in (*HUB_SCHEMES, DIRECTORY_SCHEME))
"""What may stand before a repository's id or a directory's path, as timm writes it."""


@dataclass(frozen=True)
class Address:
    """A source as it is written.

    Attributes:
        text: The whole of it.
        scheme: "hf-hub", "hf_hub", "local-dir", or "" where none is written.
        where: The text behind the scheme.
        path: ``where`` as a path, with the user's home directory filled in.
    """

    text: str
    scheme: str
    where: str
    path: Path

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Split off the scheme; any text is an address."""
        scheme, where = "", text
        if text.startswith(PREFIXES):
            scheme, _, where = text.partition(":")
        path = Path(where)
        with contextlib.suppress(RuntimeError):  # no such user
            path = path.expanduser()
        return cls(text, scheme, where, path)

    @property
    def last(self) -> str:
        """The last part of a path or a repository's id, without a revision."""
        return self.where.rstrip("/").split("/")[-1].partition("@")[0]
