"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from momos_compress.errors import MomosError


def check_writable(path: Path) -> None:
    """Check that a file can be made at ``path``, before hours of work rather than after them.

    Raises:
        MomosError: Its directory is missing or cannot be written, or ``path`` is there and is no regular file.
    """
    directory = path.parent
    if not directory.is_dir():
        raise MomosError(f"the directory {str(directory)!r} does not exist; create it or choose another `output`")
    if path.is_dir():
        raise MomosError(f"{str(path)!r} is a directory; name a file as `output`")
    if path.exists() and not path.is_file():
        raise MomosError(f"{str(path)!r} is not a regular file; choose another `output`")
    try:
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise MomosError(
            f"the directory {str(directory)!r} cannot be written ({reason}); choose another `output`"
        ) from error


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Write a new file beside ``path``, which replaces it when the block ends without an error.

    The data are on the disk before that. After an error or an interrupt the new file is removed, and ``path`` is as it
    was.

    Raises:
        MomosError: The file cannot be made or written.
    """
    check_writable(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MomosError(f"writing {str(path)!r} failed: {reason}; nothing was changed") from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(
        OSError
    ):  # not every file system can do it, and the file's own data are on the disk already
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
