"""``momos-compress MODEL``: the main job."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from momos_cli.options import Flag, Json, Model, Output, Quiet, Where, Whole, open_model, print_json, warn
from momos_compress.settings import DEFAULT_C, CodebookDtype, Coding, Passthrough, Protocol, Settings

DEFAULTS = Settings()


def compress(
    model: Model,
    /,
    *,
    c: Annotated[float | None, Parameter(help=f"Capacity: motifs over blocks, in (0, 1]. Default {DEFAULT_C}.")] = None,
    k: Annotated[int | None, Whole, Parameter(help="The number of motifs itself, instead of --c.")] = None,
    s: Annotated[int, Whole, Parameter(help="Block size, 1 to 64 values.")] = DEFAULTS.s,
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
        float, Parameter(help="What a bit of the file counts beside error: more gives a smaller file.")
    ] = DEFAULTS.rate_weight,
    method: Annotated[
        Literal["hessian", "faiss", "sklearn", "random"] | None,
        Parameter(
            help="How motifs are found: fitted to what layers compute (needs calibration), or to the weights alone."
        ),
    ] = DEFAULTS.method,  # type: ignore[assignment]
    protocol: Annotated[
        Protocol, Parameter(help="paper: the projection of the Mosaic-of-Motifs paper.")
    ] = DEFAULTS.protocol,
    zero_motif: Annotated[bool, Parameter(help="Force the all-zero motif into the codebook.")] = DEFAULTS.zero_motif,
    codebook_dtype: Annotated[
        CodebookDtype | None, Parameter(help="Default float16 (float32 with --protocol paper).")
    ] = DEFAULTS.codebook_dtype,
    passthrough: Annotated[
        Passthrough, Parameter(help="auto stores other tensors as float16 where that is exact enough; keep never does.")
    ] = DEFAULTS.passthrough,
    coding: Annotated[
        Coding | None,
        Parameter(help="How indices are stored: by how often each motif is used (ans, the default), or in whole bits."),
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
        s=s,
        method=method,
        protocol=protocol,
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
        rate_weight=rate_weight,
    )
    from momos_cli.progress import StageProgress
    from momos_cli.render import show_plan, show_report
    from momos_compress.estimate import estimate
    from momos_compress.pipeline import compress as run
    from momos_compress.plan import output_path, plan, resolve
    from momos_compress.sources import NAMED_SOURCES
    from momos_compress.stages import Stages

    resolve(settings)  # a wrong option is told before anything is loaded
    if output is not None:
        _check_output(output)
    stages = Stages()
    with stages.stage("load"):
        weights = open_model(model, arch=arch, checkpoint=checkpoint, pretrained=pretrained, seed=seed, quiet=quiet)
    if data is None and model in NAMED_SOURCES:
        data = NAMED_SOURCES[model].data
    if dry_run:
        work = plan(weights, settings)
        warn((*weights.warnings, *work.selection.warnings))
        expected = estimate(weights, work)
        if json_:
            print_json({"source": weights.source, "blocks": work.blocks, "k": work.k, "s": s, **vars(expected)})
        elif not quiet:
            show_plan(work, expected)
        return
    output_path(weights, output)
    with StageProgress(quiet=quiet) as progress:
        report = run(weights, settings, output, data=data, stages=stages, progress=progress)
    warn(report.warnings)
    if json_:
        print_json(report.to_json())
    elif not quiet:
        show_report(report)


def _check_output(output: str) -> None:
    from momos_compress.atomic import check_writable

    check_writable(Path(output).expanduser())
