"""What no kind of source claims: missing files, and names that nobody knows."""

import difflib
from collections.abc import Iterable
from typing import NoReturn

from momos_compress.errors import SourceError
from momos_compress.sources import hub
from momos_compress.sources.address import Address
from momos_compress.sources.named import NAMED_SOURCES
from momos_compress.sources.registry import Opening, SourceKind
from momos_compress.sources.repositories import written_as_path


class Unknown:
    """The last resort: opening it says what is wrong with the name."""

    suffixes = ()
    remote = True

    def claims(self, address: Address) -> bool:
        """Always."""
        return True

    def open(self, address: Address, opening: Opening) -> NoReturn:
        """Raise SourceError: a missing file, or a name with close ones that are known."""
        if written_as_path(address):
            raise SourceError(f"no file or directory {address.text!r}")
        raise SourceError(unknown_source(address.text))

    def revision(self, address: Address) -> str | None:
        """None: nothing is there."""
        return None

    def repository(self, address: Address) -> str | None:
        """The name itself, without what may be meant as its revision."""
        return hub.split_revision(address.where)[0]


def unknown_source(source: str, commands: Iterable[str] = ()) -> str:
    """One line for a name that is nothing we know, with close names of models and of ``commands``."""
    import timm

    names = [*timm.list_models(), *NAMED_SOURCES]
    models = difflib.get_close_matches(source, names, n=3)
    close = difflib.get_close_matches(source, list(commands), n=2)
    hints = [f"close {kind}: {', '.join(found)}" for kind, found in (("commands", close), ("models", models)) if found]
    hints.append("a Hugging Face model is named with its owner, as in org/name")
    return f"{source!r} is no timm model, file or directory; {'; '.join(hints)}"


KIND: SourceKind = Unknown()
