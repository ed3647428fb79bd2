"""``momos-compress MODEL``: the main job."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from momos_cli.exits import MISSED, warn
from momos_cli.options import (
    Flag,
    Json,
    Labelled,
    Model,
    Origin,
    Quiet,
    open_model,
    output_option,
    own_data,
    print_json,
)
from momos_cli.records import Given, from_records
from momos_compress.errors import MomosError
from momos_compress.settings import Settings, setting

if TYPE_CHECKING:
    from momos_compress.common.stages import Stages
    from momos_compress.search.budget import Budget
    from momos_compress.sources.checkpoint import Checkpoint


@dataclass(frozen=True)
class Target:
    """What is asked of the file instead of a capacity; at most one of these."""

    target_ratio: float | None = setting(
        None, help="Instead of `c`: the best file this many times smaller than its source."
    )
    target_size: str | None = setting(None, help="Instead of `c`: the best file of at most this size, such as 5MB.")
    max_drop: float | None = setting(
        None, help="Instead of `c`: the smallest file that loses no more points of accuracy (or agreement)."
    )

    def budget(self) -> "Budget | None":
        """What the search is given; None where nothing is asked."""
        from momos_compress.common.units import parse_size
        from momos_compress.search.budget import Budget

        if self == Target():
            return None
        return Budget(
            self.target_ratio, None if self.target_size is None else parse_size(self.target_size), self.max_drop
        )


@from_records
def compress(
    model: Model,
    /,
    *,
    settings: Given[Settings],
    target: Given[Target],
    output: Annotated[str | None, output_option("The file. Default: the model's name with .momos.safetensors.")] = None,
    origin: Given[Origin],
    data: Labelled = None,
    dry_run: Annotated[bool, Flag, Parameter(help="Sizes, time and memory, without clustering or writing.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress a checkpoint: measure it, project it onto motifs, write the compact file, report."""
    made, source = settings.made(), origin.made()  # a wrong option is told before anything is loaded
    from momos_compress.common.atomic import check_writable
    from momos_compress.common.stages import Stages
    from momos_compress.planning.choices import check_compression
    from momos_compress.planning.plan import output_path
    from momos_compress.search.budget import check_budget

    check_compression(made)
    budget = target.made().budget()
    if budget is not None:
        budget.check()
        if dry_run:
            raise MomosError("--dry-run goes with --c or --k: what a target takes is only known once it was searched")
        data = data or own_data(model, made.calibrate)
        check_budget(made, budget, data)
    if output is not None:
        check_writable(Path(output).expanduser())
    stages = Stages()
    with stages.stage("load"):
        weights = open_model(model, source, seed=made.seed, quiet=quiet)
    if dry_run:
        _estimate(weights, made, json_=json_, quiet=quiet)
        return
    output_path(weights, output)
    if budget is None:
        _compress(weights, made, output, data or own_data(model), stages, json_=json_, quiet=quiet)
    else:
        _compress_within(weights, settings, budget, output, data, stages, json_=json_, quiet=quiet)


def _estimate(weights: "Checkpoint", settings: Settings, *, json_: bool, quiet: bool) -> None:
    from momos_cli.compress_view import show_plan
    from momos_cli.progress import StageProgress
    from momos_compress.compression.expected import expect
    from momos_compress.planning.plan import plan

    with StageProgress(quiet=quiet) as progress:
        expected = expect(weights, plan(weights, settings), progress=progress)
    work = expected.work
    warn((*weights.warnings, *work.selection.warnings))
    if json_:
        found = {**vars(expected.cost), "steps": expected.steps}
        print_json({"source": weights.source, "blocks": work.blocks, "k": work.k, "s": work.settings.s, **found})
    elif not quiet:
        show_plan(expected)


def _compress(
    weights: "Checkpoint",
    settings: Settings,
    output: str | None,
    data: str | None,
    stages: "Stages",
    *,
    json_: bool,
    quiet: bool,
) -> None:
    from momos_cli.compress_view import show_report
    from momos_cli.progress import StageProgress
    from momos_compress.compression.pipeline import compress

    with StageProgress(quiet=quiet) as progress:
        report = compress(weights, settings, output, data=data, stages=stages, progress=progress)
    warn(report.warnings)
    if json_:
        print_json(report.to_json())
    elif not quiet:
        show_report(report)


def _compress_within(
    weights: "Checkpoint",
    settings: Given[Settings],
    budget: "Budget",
    output: str | None,
    data: str | None,
    stages: "Stages",
    *,
    json_: bool,
    quiet: bool,
) -> None:
    """Search block sizes and rate weights, except those that the user gave."""
    from momos_cli.compress_view import show_points, show_report
    from momos_cli.progress import StageProgress
    from momos_compress.search.settings_path import RATE_WEIGHTS
    from momos_compress.search.within import BLOCK_SIZES, compress_within

    made = settings.made()
    ranges: dict[str, Any] = {
        "block_sizes": (made.s,) if "s" in settings else BLOCK_SIZES,
        "rate_weights": (made.rate_weight, made.rate_weight) if "rate_weight" in settings else RATE_WEIGHTS,
    }
    with StageProgress(quiet=quiet) as progress:
        found = compress_within(weights, made, budget, output, data=data, stages=stages, progress=progress, **ranges)
    warn(found.warnings)
    if json_:
        print_json(found.to_json())
    elif not quiet:
        show_report(found.report)
        show_points(found)
    if not found.met:
        raise SystemExit(MISSED)
