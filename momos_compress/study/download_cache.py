"""A cache of downloaded weights that may be bounded: what has been measured makes room."""

import shutil
from pathlib import Path

from momos_compress import hub


def used_bytes(directory: Path) -> int:
    """Size of the files below a directory; links count as nothing."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def make_room(directory: Path, limit: int, files: tuple[Path, ...]) -> bool:
    """Drop the downloads that ``files`` belong to if the cache is above its limit; returns whether it did.

    Only what lies in the cache is ever dropped: a repository of the hub as a whole, or a single file.
    """
    inside = [path for path in files if path.absolute().is_relative_to(directory.absolute())]
    if not inside or used_bytes(directory) <= limit:
        return False
    for path in inside:
        first = path.absolute().relative_to(directory.absolute()).parts[0]
        if (directory / first).is_dir():
            shutil.rmtree(directory / first, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return True


def use(directory: Path) -> None:
    """Make the cache, and let this process download into it."""
    directory.mkdir(parents=True, exist_ok=True)
    hub.use_cache(directory)
