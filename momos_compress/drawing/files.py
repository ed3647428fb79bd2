"""Figures and pages, written whole."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from momos_compress.common.atomic import atomic_writer
from momos_compress.errors import MomosError


@contextlib.contextmanager
def needs_extra() -> Iterator[None]:
    """MomosError where what is imported within is not there, and belongs to the extra."""
    try:
        yield
    except ImportError as error:
        if error.name and error.name.partition(".")[0] in ("altair", "vl_convert"):
            raise MomosError(f"a report needs {error.name}; pip install 'momos-compress[report]'") from error
        raise


def write_contents(target: Path, contents: Mapping[str, bytes]) -> None:
    """Files by name into a directory that is made where it is missing; each whole or not at all."""
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MomosError(f"the directory {str(target)!r} cannot be made ({reason}); choose another with -o") from error
    for name, content in contents.items():
        with atomic_writer(target / name) as file:
            file.write(content)
