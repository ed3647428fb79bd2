"""Simplify trained networks into mosaics of reusable motifs, and measure how simple they are."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from momos_compress.compression.pipeline import compress
    from momos_compress.compression.report import Report
    from momos_compress.container.reader import MomosFile, load_file, open_file
    from momos_compress.errors import FormatError, MomosError, SourceError
    from momos_compress.measures.bdm import matrix_bdm, qubd, sign_bdm, windowed_bdm
    from momos_compress.networks.accuracy import evaluate
    from momos_compress.networks.load import load_model
    from momos_compress.settings import Settings
    from momos_compress.sources.open import open_checkpoint

_HOMES = {
    "FormatError": "errors",
    "MomosError": "errors",
    "MomosFile": "container.reader",
    "Report": "compression.report",
    "Settings": "settings",
    "SourceError": "errors",
    "compress": "compression.pipeline",
    "evaluate": "networks.accuracy",
    "load_file": "container.reader",
    "load_model": "networks.load",
    "matrix_bdm": "measures.bdm",
    "open_checkpoint": "sources.open",
    "open_file": "container.reader",
    "qubd": "measures.bdm",
    "sign_bdm": "measures.bdm",
    "windowed_bdm": "measures.bdm",
}
_FORMER = {"open": "open_file"}
"""Names of earlier versions -> what they are called now."""
__all__ = [
    "FormatError",
    "MomosError",
    "MomosFile",
    "Report",
    "Settings",
    "SourceError",
    "compress",
    "evaluate",
    "load_file",
    "load_model",
    "matrix_bdm",
    "open_checkpoint",
    "open_file",
    "qubd",
    "sign_bdm",
    "windowed_bdm",
]


def __getattr__(name: str) -> Any:
    name = _FORMER.get(name, name)
    # Imported when first asked for: torch takes seconds, and `momos-compress --help` does without it.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
