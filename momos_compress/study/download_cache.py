"""A cache of downloaded weights that may be bounded: what has been measured makes room."""

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


def used_bytes(directory: Path) -> int:
    """Size of the files below a directory; links count as nothing, and so does what goes while it is counted.

    Other processes of the study drop and rename files meanwhile, so a directory that was listed may be gone when it is
    entered.
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
    """Wait until no other process is at ``repository``, and keep others from it until the end.

    Revisions of one repository share a directory of the cache: the first that is measured would drop the files of the
    others.
    """
    with FileLock(directory / IN_USE / hashlib.sha256(repository.encode()).hexdigest()):
        yield


def make_room(directory: Path, limit: int, files: tuple[Path, ...]) -> bool:
    """Drop the downloads that ``files`` belong to if the cache is above its limit; returns whether it did.

    Only what lies in the cache is ever dropped: a repository of the hub as a whole, or a single file. What cannot be
    dropped stays: the model was measured, and its row is worth more than the room.
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
    """Make the cache where it is not there; MomosError where it cannot be."""
    try:
        (directory / IN_USE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MomosError(
            f"{directory} cannot hold downloads ({error.strerror or error}); choose another results directory with -o"
        ) from error


def use(directory: Path) -> None:
    """Make the cache, and let this process download into it."""
    make(directory)
    hub.use_cache(directory)
