"""A bounded cache of downloaded weights, where what has been measured makes room."""

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from momos_compress.errors import MomosError
from momos_compress.sources import hub

IN_USE = ".in-use"
"""Directory of the locks of repositories."""


def used_bytes(directory: Path) -> int:
    """Size of the files below a directory, without links.

    Other processes drop and rename files meanwhile: what is gone when it is looked at counts as nothing.
    """
    total = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found = Path(parent, name).lstat()
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total


@contextlib.contextmanager
def alone(directory: Path, repository: str) -> Iterator[None]:
    """Hold a repository for this process alone; waits for others to be done with it.

    Revisions of one repository share a directory, and the first that is measured would drop the files of the others.
    """
    with FileLock(directory / IN_USE / hashlib.sha256(repository.encode()).hexdigest()):
        yield


def make_room(directory: Path, limit: int, files: tuple[Path, ...]) -> bool:
    """Drop the downloads that measured files belong to, where the cache is above its limit.

    Only what lies in the cache is dropped: a repository of the hub as a whole, or a single file. What cannot be dropped
    stays, as the model's row is worth more than the room.

    Args:
        directory: The cache.
        limit: Its limit in bytes.
        files: The files of the model that was measured.

    Returns:
        Whether anything was to be dropped.
    """
    inside = [path for path in files if path.absolute().is_relative_to(directory.absolute())]
    if not inside or used_bytes(directory) <= limit:
        return False
    for path in inside:
        first = path.absolute().relative_to(directory.absolute()).parts[0]
        if (directory / first).is_dir():
            shutil.rmtree(directory / first, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return True


def make(directory: Path) -> None:
    """Make the cache where it is missing; MomosError where it cannot be made."""
    try:
        (directory / IN_USE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MomosError(
            f"{directory} cannot hold downloads ({error.strerror or error}); choose another results directory with "
            "`output`"
        ) from error


def use(directory: Path) -> None:
    """Make the cache, and have this process download into it."""
    make(directory)
    hub.use_cache(directory)
