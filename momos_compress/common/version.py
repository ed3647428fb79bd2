"""This package's version."""

import importlib
import importlib.metadata


def version() -> str:
    """Version of the installed package, as in "1.2.3"."""
    return importlib.metadata.version("momos-compress")
