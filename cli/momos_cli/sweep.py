"""``momos-compress sweep``: every combination of a few settings, side by side."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from momos_cli.exits import FAILED, warn
from momos_cli.options import Json, Model, Origin, Quiet, numbers, open_model, output_option, own_data, print_json
from momos_cli.records import Fields, Given, from_records
from momos_compress.settings import DEFAULT_C, DEFAULT_RATE_WEIGHT, DEFAULT_S, Settings

if TYPE_CHECKING:
    from momos_compress.search.sweep import Sweep


@from_records
def sweep(
    model: Model,
    /,
    *,
    c: Annotated[str, Parameter(help="Capacities, such as 0.005,0.01,0.05.")] = f"{DEFAULT_C}",
    s: Annotated[str, Parameter(help="Block sizes, such as 2,4,8.")] = f"{DEFAULT_S}",
    rate_weight: Annotated[str, Parameter(help="Rate weights, such as 1,2.")] = f"{DEFAULT_RATE_WEIGHT:g}",
    output: Annotated[str, output_option("Directory of the rows and the figure; resumed if it is there.")] = "sweep",
    data: Annotated[str | None, Parameter(help="Labelled images (folder, tar, digits) that accuracy is of.")] = None,
    settings: Annotated[Given[Settings], Fields(only=("calibrate", "samples", "include", "exclude", "seed", "device"))],
    origin: Given[Origin],
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress with every combination of settings and measure each; a table, sweep.csv and sweep.svg; resumable."""
    capacities, sizes = numbers("--c", c, float), numbers("--s", s, int)
    weights = numbers("--rate-weight", rate_weight, float)
    made = settings.made(bdm=False)
    from momos_cli.progress import StageProgress
    from momos_compress.data.registry import check_disjoint
    from momos_compress.search.sweep import sweep as run_sweep
    from momos_compress.search.sweep import sweep_points

    sweep_points(made, capacities, sizes, weights)  # a wrong option is told before anything is loaded
    check_disjoint(data, made.calibrate)
    data = data or own_data(model, made.calibrate)
    weights_file = open_model(model, origin.made(), seed=made.seed, quiet=quiet)
    with StageProgress(quiet=quiet) as progress:
        found = run_sweep(
            weights_file,
            made,
            Path(output).expanduser(),
            c=capacities,
            s=sizes,
            rate_weights=weights,
            data=data,
            progress=progress,
        )
    _tell(found, weights_file.source, output, json_=json_, quiet=quiet)


def _tell(found: "Sweep", source: str, output: str, *, json_: bool, quiet: bool) -> None:
    from momos_cli.sweep_view import show_sweep

    warn(found.warnings)
    failed = [row for row in found.rows if row.status == "failed"]
    warn(f"c = {row.c:g}, s = {row.s}, rate weight {row.rate_weight:g} failed: {row.failure}" for row in failed)
    if json_:
        print_json(
            {
                "source": source,
                "results": output,
                "csv": str(found.csv),
                "figure": None if found.figure is None else str(found.figure),
                "kept": found.kept,
                "rows": [dataclasses.asdict(row) for row in found.rows],
            }
        )
    elif not quiet:
        show_sweep(found)
    if failed:
        sys.exit(FAILED)
