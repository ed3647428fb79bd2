"""``momos-compress study``: measure many models."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from momos_cli.exits import FAILED, warn
from momos_cli.options import Json, Quiet, Whole, output_option, print_json
from momos_cli.records import Fields, Given, from_records
from momos_compress.errors import MomosError
from momos_compress.measures.registry import MeasureName
from momos_compress.measures.settings import MeasureSettings
from momos_compress.study.settings import StudySettings

if TYPE_CHECKING:
    from momos_compress.study.events import Engine
    from momos_compress.study.rows import Row

MOST_WORKERS = 4
"""Workers where the user names no number; one takes some 1.5 GiB on a network of 100 M parameters."""


@from_records
def study(
    *models: Annotated[
        str,
        Parameter(
            help="Lists (.toml, .txt), timm names or globs, hub ids, weights files, directories. Default: the 110 "
            "models of Figure 2."
        ),
    ],
    output: Annotated[str, output_option("Results directory; one that is there is resumed.")] = "study",
    measure: Annotated[MeasureName, Parameter(help="Which measure the summary shows.")] = "sign",
    settings: Annotated[Given[StudySettings], Fields(but=("measures",))],
    measures: Given[MeasureSettings],
    workers: Annotated[
        int | None, Whole, Parameter(help="Models measured at a time on this machine. Default: one a core, at most 4.")
    ] = None,
    engine: Annotated[Literal["local", "ray"], Parameter(help="ray: on a cluster (extra: cluster).")] = "local",
    address: Annotated[str | None, Parameter(help="A running Ray cluster: auto, or ray://HOST:PORT.")] = None,
    cpus: Annotated[float, Parameter(help="CPUs of each of Ray's tasks.")] = 1,
    gpus: Annotated[float, Parameter(help="GPUs of each of Ray's tasks; a fraction shares one.")] = 0,
    max_cache: Annotated[
        str | None,
        Parameter(help="Download into the results directory, and drop measured weights above this size, such as 20GB."),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the complexity of many models against re-initialised and shuffled copies; one row a model, resumable."""
    import momos_zoo
    from momos_cli.study_view import StudyProgress, show_rows
    from momos_compress.common.units import parse_size
    from momos_compress.study.flat_rows import flat_records
    from momos_compress.study.model import Job
    from momos_compress.study.model_list import expand
    from momos_compress.study.run import ask_for_hub, run_study

    asked = measures.made()
    made = settings.made(measures=dataclasses.replace(asked, also=(*asked.also, measure)))
    run = _engine(engine, workers, address, cpus, gpus)
    directory = Path(output).expanduser()
    limit = None if max_cache is None else parse_size(max_cache)
    cache = None if limit is None else directory.absolute() / "cache"
    names = expand(models or [str(momos_zoo.FIGURE_2)])
    job = Job(made, imports=("momos_zoo",), cache=cache, cache_limit=limit)
    if engine == "local":  # a cluster's nodes may reach what this machine does not
        job = ask_for_hub(names, job)
    with StudyProgress(len(names), quiet=quiet) as progress:
        rows = run_study(names, job, directory, run, observe=progress)
    if json_:
        print_json({"results": str(directory), "rows": flat_records(rows)})
    elif not quiet:
        show_rows(rows, measure, directory)
    _end(rows)


def _engine(engine: str, workers: int | None, address: str | None, cpus: float, gpus: float) -> "Engine":
    """What runs the models; MomosError for options that belong to the other engine."""
    from momos_compress.study.local_engine import run_local
    from momos_compress.study.ray_engine import run_ray

    if engine == "ray":
        if workers is not None:
            raise MomosError(
                "--workers goes with --engine local; on a cluster, --cpus and --gpus of a task set the number"
            )
        return partial(run_ray, address=address, cpus=cpus, gpus=gpus)
    if address is not None or (cpus, gpus) != (1, 0):
        raise MomosError("--address, --cpus and --gpus go with --engine ray")
    if workers is not None and workers < 1:
        raise MomosError(f"--workers must be at least 1, not {workers}")
    return partial(run_local, workers=min(MOST_WORKERS, os.cpu_count() or 1) if workers is None else workers)


def _end(rows: Sequence["Row"]) -> None:
    failed = [row for row in rows if row.status == "failed"]
    warn(f"{row.model} failed: {row.error}" for row in failed)
    if failed:
        sys.exit(FAILED)
