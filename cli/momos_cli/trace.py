"""``momos-compress trace``: does complexity follow the loss over training?"""

import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from momos_cli.exits import warn
from momos_cli.options import Json, Quiet, output_option, print_json
from momos_cli.records import Given, from_records
from momos_compress.trace.settings import TraceSettings


@from_records
def trace(
    *runs: Annotated[
        str,
        Parameter(
            help="Directories of checkpoints named by their step (step-000123.safetensors), directories of such, or "
            "the weights files of one run. Runs that differ in a last -seedN form a group."
        ),
    ],
    settings: Given[TraceSettings],
    output: Annotated[str, output_option("Directory of results.")] = "trace",
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the checkpoints of training runs, and correlate BDM and entropy with the loss."""
    import momos_zoo  # noqa: F401  registers the architectures that timm lacks
    from momos_cli.progress import StageProgress
    from momos_cli.trace_view import show_trace
    from momos_compress.trace.results import prepare_directory, write_results
    from momos_compress.trace.run import trace_runs
    from momos_compress.trace.tables import record

    made = settings.made()
    directory = Path(output).expanduser()
    existed = directory.exists()
    prepare_directory(directory)
    try:
        with StageProgress(quiet=quiet) as progress:
            found = trace_runs(runs, made, progress=progress)
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):  # it holds something by now
                directory.rmdir()
        raise
    written, note = write_results(found, directory)
    warn(found.warnings)
    if json_:
        print_json({"output": str(directory), "files": [path.name for path in written], **record(found)})
    elif not quiet:
        show_trace(found)
        print(f"\n{directory}: {', '.join(path.name for path in written)}")
        if note is not None:
            print(note)
