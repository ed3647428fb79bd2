"""Lists of models to study: the entries that a user names, expanded to one model each."""

import glob
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from momos_compress.errors import MomosError, one_line
from momos_compress.sources.open import NAMED_SOURCES
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, TORCH_SUFFIXES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WILD = "*?["
_WEIGHTS = (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES)


def read_list(path: Path) -> list[str]:
    """Read a list of models: TOML with ``[[model]]`` tables that have a ``name``, or text with one name in each line.

    In text, ``#`` begins a comment. MomosError for any other content, and for a list without models.
    """
    try:
        text = path.read_text()
        if path.suffix != ".toml":
            names: list[Any] = [line.partition("#")[0].strip() for line in text.splitlines()]
            names = [name for name in names if name]
        else:
            names = [table["name"] for table in tomllib.loads(text)["model"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "no [[model]] tables with a name" if isinstance(error, KeyError | TypeError) else one_line(error)
        raise MomosError(f"{path}: not a list of models ({reason})") from error
    if not names or not all(isinstance(name, str) and name for name in names):
        raise MomosError(f"{path}: not a list of models (it names none, or one that is no text)")
    return names


def expand(entries: Iterable[str]) -> list[str]:
    """Name each model of the entries once, in their order.

    Args:
        entries: Lists (.toml, .txt), globs over paths or over timm's pretrained names, directories that hold one model
            or several weights files, or anything that ``open_checkpoint`` takes.

    Raises:
        MomosError: An entry names nothing.
    """
    found: list[str] = []
    for entry in entries:
        found += _expand(entry)
    return list(dict.fromkeys(found))


def _expand(entry: str) -> Sequence[str]:
    path = Path(entry).expanduser()
    if entry in NAMED_SOURCES:
        return [entry]
    if path.suffix in (".toml", ".txt"):
        if not path.is_file():
            raise MomosError(f"no list of models {entry!r}")
        return expand(read_list(path))
    if path.is_dir():
        return _directory(path, entry)
    if not path.exists() and any(c in entry for c in _WILD):
        return _wild(entry)
    return [entry]


def _directory(path: Path, entry: str) -> Sequence[str]:
    if (path / "config.json").is_file() or any(path.glob("*.index.json")):
        return [entry]
    files = sorted(str(file) for file in path.iterdir() if file.suffix in _WEIGHTS)
    models = sorted(str(config.parent) for config in path.glob("*/config.json"))
    if not files and not models:
        raise MomosError(f"{entry}: a directory without weights files ({', '.join(_WEIGHTS)}) or models in it")
    return [*files, *models]


def _wild(entry: str) -> Sequence[str]:
    import timm

    paths = sorted(glob.glob(str(Path(entry).expanduser()), recursive=True))
    models = [p for p in paths if Path(p).is_dir() or Path(p).suffix in _WEIGHTS]
    names = models or ([] if "/" in entry else list(timm.list_pretrained(entry)))
    if not names:
        raise MomosError(f"{entry!r} matches no weights file, no directory and no pretrained timm model")
    return names
