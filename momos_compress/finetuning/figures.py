"""The curves of a training run as PNG and SVG."""

from dataclasses import dataclass
from pathlib import Path

from momos_compress.drawing.files import needs_extra, write_contents
from momos_compress.errors import MomosError
from momos_compress.finetuning.log import METRICS, RECORD, Log, read_record


@dataclass(frozen=True)
class TrainingFigures:
    """What was drawn.

    Attributes:
        figures: The files.
        epochs: How many epochs they show.
    """

    figures: tuple[Path, ...]
    epochs: int


def is_run(directory: Path) -> bool:
    """Tell whether ``finetune`` wrote this directory."""
    return (directory / RECORD).is_file()


def write_training_figures(directory: Path, output: Path | None = None) -> TrainingFigures:
    """Draw a run's metrics.csv as curves.png and curves.svg.

    Args:
        directory: The run's directory.
        output: Where figures go; None: the run's directory.

    Raises:
        MomosError: if no epoch is finished, or the extra "report" is not installed.
    """
    record = read_record(directory) or {}
    log = Log(directory)
    log.read(None)
    if not log.rows:
        raise MomosError(f"{directory / METRICS}: no epoch is finished; go on with finetune and `resume`")
    with needs_extra():
        from momos_compress.drawing.render import render_png, render_svg
        from momos_compress.finetuning.chart import training_chart
    best = (record.get("result") or {}).get("best_epoch")
    spec = training_chart(log.rows, Path(str(record.get("source", directory))).name, best)
    target = directory if output is None else output
    figures = {"curves.png": render_png(spec), "curves.svg": render_svg(spec)}
    write_contents(target, figures)
    return TrainingFigures(tuple(target / name for name in figures), len(log.rows))
