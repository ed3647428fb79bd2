"""``momos-compress sweep``: every combination of a few settings, side by side."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from momos_cli.exits import FAILED
from momos_cli.options import Json, Model, Quiet, Where, Whole, numbers, open_model, own_data, print_json, warn
from momos_compress.settings import DEFAULT_C, Settings

DEFAULTS = Settings()


def sweep(
    model: Model,
    /,
    *,
    c: Annotated[str, Parameter(help="Capacities, such as 0.005,0.01,0.05.")] = f"{DEFAULT_C}",
    s: Annotated[str, Parameter(help="Block sizes, such as 2,4,8.")] = f"{DEFAULTS.s}",
    rate_weight: Annotated[str, Parameter(help="Rate weights, such as 1,2.")] = f"{DEFAULTS.rate_weight:g}",
    output: Annotated[
        str, Parameter(name=["--output", "-o"], help="Directory of the rows and the figure; resumed if it is there.")
    ] = "sweep",
    data: Annotated[str | None, Parameter(help="Labelled images (folder, tar, digits) that accuracy is of.")] = None,
    calibrate: Annotated[
        str | None, Parameter(help="Inputs without labels that motifs are fitted to; as for compress.")
    ] = DEFAULTS.calibrate,
    samples: Annotated[int | None, Whole, Parameter(help="Calibration samples.")] = DEFAULTS.samples,
    arch: Annotated[str | None, Parameter(help="timm architecture of a bare weights file.")] = None,
    checkpoint: Annotated[str | None, Parameter(help="Weights file for the timm architecture MODEL.")] = None,
    pretrained: Annotated[bool, Parameter(help="--no-pretrained takes random weights.")] = True,
    include: Annotated[
        tuple[str, ...], Parameter(help="Exactly the tensors to compress: glob, or re:EXPR. Repeatable.", negative=())
    ] = DEFAULTS.include,
    exclude: Annotated[
        tuple[str, ...], Parameter(help="Tensors to leave out: glob, or re:EXPR. Repeatable.", negative=())
    ] = DEFAULTS.exclude,
    seed: Annotated[int, Whole] = DEFAULTS.seed,
    device: Where = DEFAULTS.device,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress with every combination of settings and measure each; a table, sweep.csv and sweep.svg; resumable."""
    capacities, sizes = numbers("--c", c, float), numbers("--s", s, int)
    weights = numbers("--rate-weight", rate_weight, float)
    settings = Settings(
        include=include, exclude=exclude, seed=seed, device=device, calibrate=calibrate, samples=samples, bdm=False
    )
    from momos_cli.progress import StageProgress
    from momos_cli.render import show_sweep
    from momos_compress.data.registry import check_disjoint
    from momos_compress.search.sweep import combinations, run_sweep

    combinations(settings, capacities, sizes, weights)  # a wrong option is told before anything is loaded
    check_disjoint(data, calibrate)
    data = data or own_data(model, calibrate)
    weights_file = open_model(model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed, quiet=quiet)
    with StageProgress(quiet=quiet) as progress:
        found = run_sweep(
            weights_file,
            settings,
            Path(output).expanduser(),
            c=capacities,
            s=sizes,
            rate_weights=weights,
            data=data,
            progress=progress,
        )
    warn(found.warnings)
    failed = [row for row in found.rows if row.status == "failed"]
    warn(f"c = {row.c:g}, s = {row.s}, rate weight {row.rate_weight:g} failed: {row.failure}" for row in failed)
    if json_:
        print_json(
            {
                "source": weights_file.source,
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
