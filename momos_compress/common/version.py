"""This package's version."""

import importlib
import importlib.metadata


def version() -> str:
    """This package's version, a part of each row's fingerprint."""
    return importlib.metadata.version("momos-compress")
