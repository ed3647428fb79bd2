"""The directory of a trace's results: tables always, curves and a page where the extra ``report`` is installed."""

from importlib.util import find_spec
from pathlib import Path

from momos_compress.common.atomic import atomic_writer, check_writable
from momos_compress.errors import MomosError
from momos_compress.trace.correlations import groups
from momos_compress.trace.curves import curves_of
from momos_compress.trace.run import Trace
from momos_compress.trace.tables import FILES, write_tables

DRAWN = ("curves.svg", "curves.png", "index.html")
"""Files that take the extra ``report``."""


def prepare_directory(directory: Path) -> None:
    """Make the directory of the results; MomosError where they could not be written into it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MomosError(
            f"the directory {str(directory)!r} cannot be made ({error.strerror or error}); choose another `output`"
        ) from error
    for name in (*FILES, *DRAWN):
        check_writable(directory / name)


def write_results(trace: Trace, directory: Path) -> tuple[list[Path], str | None]:
    """Write a trace into a prepared directory.

    Returns:
        The files' paths, and a note where the extra ``report`` is missing and some could not be drawn.
    """
    paths = write_tables(trace, directory)
    if find_spec("altair") is None or find_spec("vl_convert") is None:
        return paths, "no curves and no page: for these, pip install 'momos-compress[report]'"
    from momos_compress.drawing.render import render_png, render_svg
    from momos_compress.trace.figure import curves_figure
    from momos_compress.trace.page import trace_page

    spec = curves_figure(curves_of(trace, groups(trace.runs)))
    svg = render_svg(spec)
    for name, data in zip(DRAWN, (svg, render_png(spec), trace_page(trace, svg.decode()).encode()), strict=True):
        with atomic_writer(directory / name) as file:
            file.write(data)
        paths.append(directory / name)
    return paths, None
