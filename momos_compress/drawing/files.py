"""Figures and pages, written whole."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from momos_compress.common.atomic import atomic_writer
from momos_compress.errors import MomosError


@contextlib.contextmanager
def needs_extra() -> Iterator[None]:
    """Raise MomosError where an import within fails for lack of the extra ``report``."""
    try:
        yield
    except ImportError as error:
        if error.name and error.name.partition(".")[0] in ("altair", "vl_convert"):
            raise MomosError(f"a report needs {error.name}; pip install 'momos-compress[report]'") from error
        raise


def write_contents(target: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by name, each whole or not at all, into a directory that is made where it is missing.

    MomosError where the directory cannot be made.
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MomosError(f"the directory {str(target)!r} cannot be made ({reason}); choose another `output`") from error
    for name, content in contents.items():
        with atomic_writer(target / name) as file:
            file.write(content)
