"""``momos-compress study``: measure many models."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from momos_cli.exits import FAILED
from momos_cli.options import Json, Quiet, Where, Whole, print_json, warn
from momos_compress.errors import MomosError
from momos_compress.measures.settings import Measure, MeasureSettings, Rates
from momos_compress.study.settings import StudySettings

if TYPE_CHECKING:
    from momos_compress.study.rows import Row

MOST_WORKERS = 4
"""Where the user names no number: a worker on a network of 100 M parameters takes some 1.5 GiB."""

DEFAULTS = StudySettings()
MEASURES = DEFAULTS.measures


def study(
    *models: Annotated[
        str,
        Parameter(
            help="Lists (.toml, .txt), timm names or globs, hub ids, weights files, directories. Default: the 110 "
            "models of Figure 2."
        ),
    ],
    output: Annotated[
        str, Parameter(name=["--output", "-o"], help="Results directory; one that is there is resumed.")
    ] = "study",
    measure: Annotated[Measure, Parameter(help="Which measure the summary shows; all of them are measured.")] = "sign",
    seeds: Annotated[int, Whole, Parameter(help="Re-initialised and shuffled copies of each model.")] = DEFAULTS.seeds,
    seed: Annotated[int, Whole, Parameter(help="The first copy's seed.")] = DEFAULTS.seed,
    pretrained: Annotated[
        bool, Parameter(help="--no-pretrained studies random weights: the study's control.")
    ] = DEFAULTS.pretrained,
    planes: Annotated[int, Whole, Parameter(help="Bit-planes of QuBD, 1 to 16.")] = MEASURES.planes,
    percentile: Annotated[
        float | None, Parameter(help="QuBD quantises from percentile 100 - P to P. Default: from minimum to maximum.")
    ] = MEASURES.percentile,
    rates: Annotated[
        Rates, Parameter(help="gzip, bz2 and lzma rates of the sign bits, or (all) of the float32 bytes too: slow.")
    ] = MEASURES.rates,
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
    device: Where = DEFAULTS.device,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the complexity of many models against re-initialised and shuffled copies; one row a model, resumable."""
    import momos_zoo
    from momos_cli.study_view import StudyProgress, show_rows
    from momos_compress.common.units import parse_size
    from momos_compress.study.events import Engine
    from momos_compress.study.local_engine import run_local
    from momos_compress.study.model import Job
    from momos_compress.study.model_list import expand
    from momos_compress.study.ray_engine import run_ray
    from momos_compress.study.rows import columns
    from momos_compress.study.run import ask_for_hub, run_study

    settings = StudySettings(
        seeds=seeds,
        seed=seed,
        pretrained=pretrained,
        measures=MeasureSettings(planes=planes, percentile=percentile, rates=rates),
        device=device,
    )
    if engine == "local" and (address is not None or (cpus, gpus) != (1, 0)):
        raise MomosError("--address, --cpus and --gpus go with --engine ray")
    if engine == "ray" and workers is not None:
        raise MomosError("--workers goes with --engine local; on a cluster, --cpus and --gpus of a task set the number")
    if workers is not None and workers < 1:
        raise MomosError(f"--workers must be at least 1, not {workers}")
    directory = Path(output).expanduser()
    limit = None if max_cache is None else parse_size(max_cache)
    cache = None if limit is None else directory.absolute() / "cache"
    names = expand(models or [str(momos_zoo.FIGURE_2)])
    run: Engine = partial(run_local, workers=min(MOST_WORKERS, os.cpu_count() or 1) if workers is None else workers)
    if engine == "ray":
        run = partial(run_ray, address=address, cpus=cpus, gpus=gpus)
    job = Job(settings, imports=("momos_zoo",), cache=cache, cache_limit=limit)
    if engine == "local":  # a cluster's nodes may reach what this machine does not
        job = ask_for_hub(names, job)
    with StudyProgress(len(names), quiet=quiet) as progress:
        rows = run_study(names, job, directory, run, observe=progress)
    if json_:
        print_json({"results": str(directory), "rows": columns(rows)})
    elif not quiet:
        show_rows(rows, measure, directory)
    _end(rows)


def _end(rows: Sequence["Row"]) -> None:
    failed = [row for row in rows if row.status == "failed"]
    warn(f"{row.model} failed: {row.error}" for row in failed)
    if failed:
        sys.exit(FAILED)
