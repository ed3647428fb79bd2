"""This package's version."""

import importlib.metadata

__version__ = importlib.metadata.version("momos-compress")


def version() -> str:
    """Version of the installed package, as in "1.2.3"."""
    return __version__
