"""``momos-compress MODEL``: the main job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from momos_cli.exits import MISSED
from momos_cli.options import Flag, Json, Model, Output, Quiet, Where, Whole, open_model, own_data, print_json, warn
from momos_compress.errors import MomosError
from momos_compress.settings import DEFAULT_C, CodebookDtype, Coding, Passthrough, Protocol, Settings

if TYPE_CHECKING:
    from momos_compress.search.bisection import Budget

DEFAULTS = Settings()


def compress(
    model: Model,
    /,
    *,
    c: Annotated[float | None, Parameter(help=f"Capacity: motifs over blocks, in (0, 1]. Default {DEFAULT_C}.")] = None,
    k: Annotated[int | None, Whole, Parameter(help="The number of motifs itself, instead of --c.")] = None,
    s: Annotated[
        int | None,
        Whole,
        Parameter(help=f"Block size, 1 to 64 values. Default {DEFAULTS.s}; a target tries several."),
    ] = None,
    target_ratio: Annotated[
        float | None, Parameter(help="Instead of --c: the best file this many times smaller than its source.")
    ] = None,
    target_size: Annotated[
        str | None, Parameter(help="Instead of --c: the best file of at most this size, such as 5MB.")
    ] = None,
    max_drop: Annotated[
        float | None,
        Parameter(help="Instead of --c: the smallest file that loses no more points of accuracy (or agreement)."),
    ] = None,
    output: Output = None,
    arch: Annotated[str | None, Parameter(help="timm architecture of a bare weights file.")] = None,
    checkpoint: Annotated[str | None, Parameter(help="Weights file for the timm architecture MODEL.")] = None,
    pretrained: Annotated[bool, Parameter(help="--no-pretrained takes random weights.")] = True,
    data: Annotated[
        str | None, Parameter(help="Labelled images (folder, tar, digits): accuracy before and after.")
    ] = None,
    calibrate: Annotated[
        str | None,
        Parameter(
            help="Inputs without labels that motifs are fitted to: image folder, tar, text file, data set directory; "
            "synthetic makes them from batch norms (the default where there are any); none does without."
        ),
    ] = DEFAULTS.calibrate,
    samples: Annotated[
        int | None, Whole, Parameter(help="Calibration samples. Default 1,024, or all there are.")
    ] = DEFAULTS.samples,
    rate_weight: Annotated[
        float | None,
        Parameter(
            help="What a bit of the file counts beside error: more gives a smaller file. Default "
            f"{DEFAULTS.rate_weight:g}; a target tries several."
        ),
    ] = None,
    method: Annotated[
        Literal["hessian", "faiss", "sklearn", "random"] | None,
        Parameter(
            help="How motifs are found: fitted to what layers compute (needs calibration), or to the weights alone."
        ),
    ] = DEFAULTS.method,  # type: ignore[assignment]
    protocol: Annotated[
        Protocol, Parameter(help="paper: the projection of the Mosaic-of-Motifs paper.")
    ] = DEFAULTS.protocol,
    exceptions: Annotated[
        bool,
        Parameter(help="With calibration, store weights as they are whose errors would cost more than their bytes."),
    ] = DEFAULTS.exceptions,
    zero_motif: Annotated[bool, Parameter(help="Force the all-zero motif into the codebook.")] = DEFAULTS.zero_motif,
    codebook_dtype: Annotated[
        CodebookDtype | None,
        Parameter(help="Default int8 where that costs next to nothing, else float16 (float32 with --protocol paper)."),
    ] = DEFAULTS.codebook_dtype,
    passthrough: Annotated[
        Passthrough,
        Parameter(
            help="auto stores other tensors in one or two bytes a value where that is exact enough; keep never does."
        ),
    ] = DEFAULTS.passthrough,
    coding: Annotated[
        Coding | None,
        Parameter(
            help="How indices are stored: by how often each motif is used (ans, the default), that by row and column "
            "(classes, smaller still), or in whole bits (packed)."
        ),
    ] = DEFAULTS.coding,
    include: Annotated[
        tuple[str, ...], Parameter(help="Exactly the tensors to compress: glob, or re:EXPR. Repeatable.", negative=())
    ] = DEFAULTS.include,
    exclude: Annotated[
        tuple[str, ...], Parameter(help="Tensors to leave out: glob, or re:EXPR. Repeatable.", negative=())
    ] = DEFAULTS.exclude,
    seed: Annotated[int, Whole] = DEFAULTS.seed,
    device: Where = DEFAULTS.device,
    bdm: Annotated[bool, Parameter(help="Measure complexity before and after.")] = DEFAULTS.bdm,
    dry_run: Annotated[bool, Flag, Parameter(help="Sizes, time and memory, without clustering or writing.")] = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compress a checkpoint: measure it, project it onto motifs, write the compact file, report."""
    settings = Settings(
        c=c,
        k=k,
        s=DEFAULTS.s if s is None else s,
        method=method,
        protocol=protocol,
        exceptions=exceptions,
        zero_motif=zero_motif,
        codebook_dtype=codebook_dtype,
        passthrough=passthrough,
        coding=coding,
        include=include,
        exclude=exclude,
        seed=seed,
        device=device,
        bdm=bdm,
        calibrate=calibrate,
        samples=samples,
        rate_weight=DEFAULTS.rate_weight if rate_weight is None else rate_weight,
    )
    from momos_cli.progress import StageProgress
    from momos_cli.render import show_plan, show_points, show_report
    from momos_compress.common.stages import Stages
    from momos_compress.compression.pipeline import compress as run
    from momos_compress.planning.estimate import estimate
    from momos_compress.planning.plan import output_path, plan, resolve

    resolve(settings)  # a wrong option is told before anything is loaded
    targets = (target_ratio, target_size, max_drop)
    budget = None if all(target is None for target in targets) else _budget(*targets)
    if budget is not None:
        from momos_compress.search.budget import check_budget

        if dry_run:
            raise MomosError("--dry-run goes with --c or --k: what a target takes is only known once it was searched")
        data = data or own_data(model, calibrate)
        check_budget(settings, budget, data)
    if output is not None:
        _check_output(output)
    stages = Stages()
    with stages.stage("load"):
        weights = open_model(model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed, quiet=quiet)
    if budget is None:
        data = data or own_data(model)
    if dry_run:
        work = plan(weights, settings)
        warn((*weights.warnings, *work.selection.warnings))
        expected = estimate(weights, work)
        if json_:
            s = work.settings.s
            print_json({"source": weights.source, "blocks": work.blocks, "k": work.k, "s": s, **vars(expected)})
        elif not quiet:
            show_plan(work, expected)
        return
    output_path(weights, output)
    if budget is not None:
        from momos_compress.search.bisection import RATE_WEIGHTS
        from momos_compress.search.budget import BLOCK_SIZES, compress_within

        with StageProgress(quiet=quiet) as progress:
            found = compress_within(
                weights,
                settings,
                budget,
                output,
                data=data,
                block_sizes=BLOCK_SIZES if s is None else (s,),
                rate_weights=RATE_WEIGHTS if rate_weight is None else (rate_weight, rate_weight),
                stages=stages,
                progress=progress,
            )
        warn(found.warnings)
        if json_:
            print_json(found.to_json())
        elif not quiet:
            show_report(found.report)
            show_points(found)
        if not found.met:
            raise SystemExit(MISSED)
        return
    with StageProgress(quiet=quiet) as progress:
        report = run(weights, settings, output, data=data, stages=stages, progress=progress)
    warn(report.warnings)
    if json_:
        print_json(report.to_json())
    elif not quiet:
        show_report(report)


def _budget(ratio: float | None, size: str | None, drop: float | None) -> "Budget":
    from momos_compress.common.units import parse_size
    from momos_compress.search.bisection import Budget

    budget = Budget(ratio, None if size is None else parse_size(size), drop)
    budget.check()
    return budget


def _check_output(output: str) -> None:
    from momos_compress.common.atomic import check_writable

    check_writable(Path(output).expanduser())
