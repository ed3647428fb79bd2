"""The files of training runs: which directories are runs, and which of their files is the checkpoint of which step."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from momos_compress.errors import MomosError
from momos_compress.sources.weights_files import SAFETENSORS_SUFFIX, TORCH_SUFFIXES, shard_names

FEWEST = 3
"""Checkpoints that a correlation takes at least."""

INDEX_SUFFIX = ".index.json"
"""Ending of the file that names the shards of a checkpoint."""


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
        name: Name of its directory.
        directory: Where they lie.
        checkpoints: Step and weights file, in the order of steps.
    """

    name: str
    directory: Path
    checkpoints: tuple[tuple[int, Path], ...]


def find_runs(sources: Sequence[str | Path]) -> tuple[tuple[RunFiles, ...], tuple[str, ...]]:
    """Find the runs that the sources name.

    Args:
        sources: A directory with weights files is a run, one without them all the runs in its directories. Plain files
            are one run, named after the directory of the first.

    Returns:
        The runs, and warnings about what was left out.

    Raises:
        MomosError: A source names no run, or two runs have one name.
    """
    if not sources:
        raise MomosError("no run is named; name directories of checkpoints, or their files")
    paths = [Path(source).expanduser() for source in sources]
    for path in paths:
        if not path.exists():
            raise MomosError(f"no file or directory {str(path)!r}")
    runs, warnings = [], list[str]()
    for path in paths:
        if not path.is_dir():
            continue
        weights = _weights_files(path)
        if _have_steps(weights) or (weights and not any(map(_is_run, path.iterdir()))):
            runs.append(_run(path, weights, warnings))
        else:
            runs += _runs_inside(path, weights, warnings)
    if files := [path for path in paths if not path.is_dir()]:
        runs.append(_run(files[0].parent, files, None))
    twice = [name for name, count in Counter(run.name for run in runs).items() if count > 1]
    if twice:
        raise MomosError(f"two runs have the name {twice[0]!r}; name a directory once, or rename one of them")
    return tuple(runs), tuple(warnings)


def step_of(path: Path) -> int | None:
    """The number at the end of a weights file's name; None where there is none."""
    name = path.name.removesuffix(INDEX_SUFFIX)
    while (suffix := Path(name).suffix) in (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES):
        name = name.removesuffix(suffix)
    found = re.search(r"[0-9]+$", name)
    return int(found[0]) if found and len(found[0]) <= 18 else None


def _runs_inside(directory: Path, weights: Sequence[Path], warnings: list[str]) -> list[RunFiles]:
    inside = [path for path in sorted(directory.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    runs = [_run(path, _weights_files(path), warnings) for path in inside if _is_run(path)]
    if not runs:
        raise MomosError(f"{str(directory)!r} holds no checkpoints, nor do its directories; name a run's directory")
    if len(runs) < len(inside):
        count = _count(len(inside) - len(runs), "directory", "directories")
        warnings.append(f"{directory}: {count} without checkpoints left out")
    if weights:
        count = _count(len(weights), "weights file", "weights files")
        warnings.append(f"{directory}: {count} beside the directories of runs left out")
    return runs


def _is_run(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".") and _have_steps(_weights_files(path))


def _have_steps(files: Iterable[Path]) -> bool:
    return any(step_of(path) is not None for path in files)


def _weights_files(directory: Path) -> list[Path]:
    """The weights files of a directory, and of a sharded checkpoint its index alone."""
    indices = sorted(directory.glob(f"*{INDEX_SUFFIX}"))
    shards = {name for index in indices for name in shard_names(index)}
    kinds = (SAFETENSORS_SUFFIX, *TORCH_SUFFIXES)
    files = [path for path in sorted(directory.iterdir()) if path.suffix in kinds and path.is_file()]
    return indices + [path for path in files if path.name not in shards and not path.name.startswith(".")]


def _run(directory: Path, files: Iterable[Path], warnings: list[str] | None) -> RunFiles:
    """Make one run of these files. With a list for warnings, files without a step are left out and told in it."""
    steps: dict[int, Path] = {}
    without = []
    for path in files:
        step = step_of(path)
        if step is None:
            without.append(path)
        elif step in steps:
            raise MomosError(f"{str(steps[step])!r} and {path.name!r} are both step {step}; move one of them away")
        else:
            steps[step] = path
    if without and (warnings is None or not steps):
        raise MomosError(f"{str(without[0])!r} has no step; its name must end in a number, as step-000123.safetensors")
    if without and warnings is not None:
        files_ = _count(len(without), "weights file", "weights files")
        warnings.append(
            f"{directory}: {files_} without a step left out ({without[0].name}{', ...' * (len(without) > 1)})"
        )
    if len(steps) < FEWEST:
        raise MomosError(
            f"{str(directory)!r} has {_count(len(steps), 'checkpoint', 'checkpoints')}; a correlation over a run takes "
            f"at least {FEWEST}"
        )
    return RunFiles(directory.resolve().name or "run", directory, tuple(sorted(steps.items())))


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
