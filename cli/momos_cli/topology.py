"""``topology``: each layer's non-zero pattern as a bipartite graph."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from momos_cli.exits import warn
from momos_cli.options import FileOrModel, Json, Origin, Quiet, Whole, open_model, print_json
from momos_cli.records import Fields, Given, from_records
from momos_compress.errors import MomosError
from momos_compress.settings import Settings

if TYPE_CHECKING:
    from momos_compress.measures.topology import LayerTopology


@from_records
def topology(
    model: FileOrModel,
    /,
    *,
    s: Annotated[
        int | None, Whole, Parameter(help="Block size for the share of all-zero blocks; a compressed file has its own.")
    ] = None,
    origin: Given[Origin],
    settings: Annotated[Given[Settings], Fields(only=("seed",))],
    json_: Json = False,
    csv_: Annotated[str | None, Parameter(name="--csv", help="Write the table to this file as well.")] = None,
    quiet: Quiet = False,
) -> None:
    """Show density, spectral gap and algebraic connectivity of each layer's non-zero pattern."""
    from momos_cli.progress import StageProgress
    from momos_compress.container.reader import MomosFile, is_container
    from momos_compress.mosaic.blocks import check_block_size
    from momos_compress.networks.topology import layer_names, topology_of_checkpoint, topology_of_file

    if s is not None:
        check_block_size(s)
    source, made = origin.made(), settings.made()
    table = None if csv_ is None else _writable(csv_, model, source.checkpoint)
    found: Iterator[LayerTopology]
    if source.checkpoint is None and is_container(model):
        file = MomosFile(model)
        if s not in (None, file.recipe.s):
            raise MomosError(f"--s {s} does not fit {model!r}, whose blocks have s = {file.recipe.s}; leave --s out")
        s, names, found = file.recipe.s, layer_names(file), topology_of_file(file)
    else:
        opened = open_model(model, source, seed=made.seed, quiet=quiet)
        warn(opened.warnings)
        names, found = layer_names(opened), topology_of_checkpoint(opened, s)
    if not names:
        raise MomosError(f"{model!r} has no floating-point tensor of two or more dimensions")
    layers = []
    with StageProgress(quiet=quiet) as progress:
        for layer in found:
            layers.append(layer)
            progress("layers", 1, len(names))
    if table is not None:
        _write_csv(table, layers)
    if json_:
        print_json({"source": model, "s": s, "layers": [vars(layer) for layer in layers]})
    elif not quiet:
        _show(model, layers)


def _writable(path: str, *sources: str | None) -> Path:
    from momos_compress.common.atomic import check_writable

    table = Path(path).expanduser()
    try:
        check_writable(table)
    except MomosError as error:  # its remedy names another option
        raise MomosError(re.sub(r"(-o|`output`)$", "--csv", str(error))) from error
    for source in filter(None, sources):
        if table.is_file() and Path(source).is_file() and table.samefile(source):
            raise MomosError(f"the table {path!r} is the input; choose another name with --csv")
    return table


def _write_csv(path: Path, layers: Sequence["LayerTopology"]) -> None:
    from momos_compress.common.atomic import atomic_writer
    from momos_compress.common.csv_text import csv_bytes

    with atomic_writer(path) as file:
        file.write(csv_bytes([{**vars(layer), "shape": "x".join(map(str, layer.shape))} for layer in layers]))


def _show(model: str, layers: Sequence["LayerTopology"]) -> None:
    from rich.table import Table

    from momos_cli.render import console
    from momos_compress.errors import one_line

    def figure(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    def count(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    table = Table(box=None, pad_edge=False, title=one_line(model), title_justify="left", title_style="bold")
    left = ("layer", "shape")
    for column in (*left, "edges", "density", "gap", "relative", "connectivity", "parts", "isolated", "zero blocks"):
        table.add_column(column, justify="left" if column in left else "right")
    for layer in layers:
        table.add_row(
            one_line(layer.name),
            "x".join(map(str, layer.shape)),
            count(layer.edges),
            figure(layer.density),
            figure(layer.spectral_gap),
            figure(layer.relative_spectral_gap),
            figure(layer.algebraic_connectivity),
            count(layer.components),
            count(layer.isolated),
            "" if layer.zero_block_share is None else f"{100 * layer.zero_block_share:.2f} %",
        )
    console.print(table)
    for layer in layers:
        if layer.note is not None:
            console.print(f"{one_line(layer.name)}: {layer.note}")
