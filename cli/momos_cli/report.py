"""``report``: the page, the figures and the CSV of a study."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from momos_cli.exits import warn
from momos_cli.options import Json, output_option, print_json
from momos_compress.measures.registry import MeasureName
from momos_compress.study.settings import BaselineKind


def report(
    results: Annotated[str, Parameter(name="RESULTS_DIR", help="A directory that study, or finetune, wrote.")],
    /,
    *,
    output: Annotated[
        str | None, output_option("Directory. Default: report in a study's, a training run's own.")
    ] = None,
    measure: Annotated[MeasureName, Parameter(help="The ratio that Figure 2 shows first.")] = "sign",
    baseline: Annotated[BaselineKind, Parameter(help="The copies that a model is compared with.")] = "reinitialised",
    model: Annotated[str | None, Parameter(help="Whose layers are shown; the least ratio's where absent.")] = None,
    json_: Json = False,
) -> None:
    """Write a study's figures (PNG, SVG), its rows as CSV, and one page with all of it; or a training run's curves."""
    from momos_compress.common.units import binary_size
    from momos_compress.finetuning.figures import is_run, write_training_figures
    from momos_compress.report.write import write_report

    if is_run(Path(results)):
        drawn = write_training_figures(Path(results), None if output is None else Path(output))
        if json_:
            print_json({"source": results, "figures": [str(path) for path in drawn.figures], "epochs": drawn.epochs})
        else:
            print(f"{results}: {drawn.epochs} epochs -> {', '.join(map(str, drawn.figures))}")
        return
    written = write_report(
        Path(results), None if output is None else Path(output), measure=measure, baseline=baseline, model=model
    )
    warn(written.warnings)
    if json_:
        print_json(
            {
                "source": results,
                "page": str(written.page),
                "page_bytes": written.page.stat().st_size,
                "csv": str(written.csv),
                "figures": [str(path) for path in written.figures],
                "ok": written.ok,
                "failed": written.failed,
                "warnings": list(written.warnings),
            }
        )
    else:
        size = binary_size(written.page.stat().st_size)
        print(f"{results}: {written.ok} measured, {written.failed} failed -> {written.page} ({size})")
