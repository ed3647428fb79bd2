"""The training study of the Mosaic-of-Motifs paper (arXiv 2602.14896): distortion over epochs, accuracy over capacity.

Networks are trained from random weights by the paper's scheme (``finetune`` in mode paper), one run for each network,
block size and capacity; a run that is there already is not run again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from momos_compress.common.csv_text import csv_bytes
from momos_compress.common.progress import Progress, silent
from momos_compress.drawing.files import needs_extra, write_contents
from momos_compress.errors import MomosError
from momos_compress.finetuning.log import METRICS, Log, read_record
from momos_compress.finetuning.run import finetune
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.setup import TrainingData
from momos_compress.settings import Settings
from momos_compress.sources.open import open_checkpoint

FIGURES = (3, 4, 5)
"""The paper's figures that are drawn: 3 and 5 show distortion over epochs, 4 shows accuracy over capacity."""
CAPACITIES = (0.005, 0.01, 0.05, 0.1)
"""Capacities of every figure."""
SIZES = (2, 4, 8)
"""Block sizes of figure 4."""
SIZE = 4
"""Block size of figures 3 and 5."""


@dataclass(frozen=True)
class StudyNetwork:
    """A network of the study.

    Attributes:
        name: As timm calls it.
        figure: The figure of its distortion over epochs, 3 or 5.
        residual: Whether it has the paper's profile for ResNets, which is SGD; others have AdamW.
        slow: Whether it stands in figure 4 with one block size alone, unless all are asked for.
    """

    name: str
    figure: int
    residual: bool = False
    slow: bool = False

    def settings(self, base: FinetuneSettings) -> FinetuneSettings:
        """Choose the paper's profile for this network: optimiser, learning rate, weight decay; no warm-up."""
        base = replace(base, mode="paper", loss="labels", warmup_steps=0)
        if self.residual:
            return replace(base, optimiser="momentum", learning_rate=0.1, weight_decay=1e-4)
        return replace(base, optimiser="adamw", learning_rate=3e-4, weight_decay=1e-2, betas=(0.9, 0.999))


NETWORKS = (
    StudyNetwork("momos_mlp", 3),
    StudyNetwork("cifar_resnet20", 3, residual=True),
    StudyNetwork("cifar_vit", 5, slow=True),
)
"""The networks of the paper's study."""


@dataclass(frozen=True)
class StudyRun:
    """One run of the study.

    Attributes:
        network: What is trained.
        s: Values in a block.
        c: Capacity, motifs over blocks.
        seed: Seed of weights, batches and motifs.
    """

    network: StudyNetwork
    s: int
    c: float
    seed: int

    @property
    def name(self) -> str:
        """The name of its directory."""
        return f"{self.network.name}-s{self.s}-c{self.c:g}-seed{self.seed}"


@dataclass(frozen=True)
class Reproduction:
    """What was run and written.

    Attributes:
        rows: One for each run and epoch.
        figures: The files drawn.
        csv: The file of all rows.
        ran: Runs that were trained.
        kept: Runs that were there already.
    """

    rows: tuple[dict[str, Any], ...]
    figures: tuple[Path, ...]
    csv: Path
    ran: int
    kept: int


def study_runs(
    networks: Sequence[StudyNetwork],
    figures: Sequence[int],
    capacities: Sequence[float],
    sizes: Sequence[int],
    seeds: int,
    *,
    whole: bool = True,
) -> list[StudyRun]:
    """List the runs that figures need, each once.

    Args:
        networks: What is trained.
        figures: Numbers of the paper's figures.
        capacities: Capacities of every figure.
        sizes: Block sizes of figure 4.
        seeds: Runs of each combination.
        whole: Slow networks have every block size in figure 4 too.

    Raises:
        MomosError: if a figure is none of the study's, or no network is in any of them.
    """
    for figure in figures:
        if figure not in FIGURES:
            raise MomosError(f"`figures` {figure} is none of {', '.join(map(str, FIGURES))}")
    if seeds < 1:
        raise MomosError(f"`seeds` must be at least 1, not {seeds}")
    found: dict[StudyRun, None] = {}
    for network in networks:
        wanted = {SIZE} if network.figure in figures else set()
        if 4 in figures:
            wanted |= set(sizes) if whole or not network.slow else {SIZE}
        for s in sorted(wanted):
            for c in capacities:
                for seed in range(seeds):
                    found[StudyRun(network, s, c, seed)] = None
    if not found:
        raise MomosError("these networks are in none of the figures asked for; add 4 to `figures`, or name others")
    return list(found)


def reproduce_momos(
    runs: Sequence[StudyRun],
    data: TrainingData,
    output: Path,
    base: FinetuneSettings,
    *,
    figures: Sequence[int] = FIGURES,
    progress: Progress = silent,
) -> Reproduction:
    """Run what is missing, and write momos.csv and the figures.

    Args:
        runs: What the figures need.
        data: Where samples to train on, to choose by and to report on are.
        output: Where the runs' directories and the files go; runs that are there already are kept or go on.
        base: Choices of the training, but for each network's profile.
        figures: Numbers of the figures to draw.
        progress: Told how far each stage is.

    Raises:
        MomosError: if a directory holds another run, training diverges, or the extra "report" is not installed.
    """
    with needs_extra():
        from momos_compress.drawing import render
        from momos_compress.reproduce import figures as momos_figures
    ran = 0
    for run in runs:
        directory = output / run.name
        progress("runs", 0, len(runs))
        record = read_record(directory)
        settings = run.network.settings(replace(base, seed=run.seed))
        checkpoint = open_checkpoint(run.network.name, pretrained=False, seed=run.seed)
        compression = Settings(c=run.c, s=run.s)
        finetune(checkpoint, data, settings, directory, compression=compression, resume=True, progress=progress)
        ran += record is None or not record.get("finished")
        progress("runs", 1, len(runs))
    rows = [row for run in runs for row in _rows(output / run.name, run)]
    contents: dict[str, bytes] = {"momos.csv": csv_bytes(rows)}
    for figure in figures:
        spec = momos_figures.accuracy_chart(rows) if figure == 4 else momos_figures.distortion_chart(
            [row for row in rows if row["figure"] == figure and row["s"] == SIZE], figure
        )  # fmt: skip
        if spec is not None:
            contents |= {f"figure{figure}.svg": render.render_svg(spec), f"figure{figure}.png": render.render_png(spec)}
    write_contents(output, contents)
    drawn = tuple(output / name for name in contents if name != "momos.csv")
    return Reproduction(tuple(rows), drawn, output / "momos.csv", ran, len(runs) - ran)


def _rows(directory: Path, run: StudyRun) -> Iterator[dict[str, Any]]:
    log, record = Log(directory), read_record(directory)
    log.read(None)
    if record is None or not log.rows:
        raise MomosError(f"{directory / METRICS}: holds no epochs; remove the directory and run again")
    result = record["result"]
    named = {"network": run.network.name, "figure": run.network.figure, "s": run.s, "c": run.c, "seed": run.seed}
    for row in log.rows:
        best = row["epoch"] == result["best_epoch"]
        test = result["test"].get("after", {}).get("top1") if best else None
        figures = {name: row[name] for name in ("distortion", "changed", "motifs", "train_loss", "validation_top1")}
        yield {**named, "epoch": row["epoch"], **figures, "best": best, "test_top1": test,
               "file_bytes": result["file_bytes"] if best else None}  # fmt: skip
