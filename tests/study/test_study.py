"""Studies: resuming, engines, failures, kills. Real processes where it is they that matter."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from waiting import wait_for

from momos_compress import MomosError
from momos_compress.measures.settings import MeasureSettings
from momos_compress.study.events import Event
from momos_compress.study.local_engine import run_local
from momos_compress.study.model import Job, failed_row, study_model
from momos_compress.study.row_files import read_row, row_path
from momos_compress.study.rows import Row
from momos_compress.study.run import run_study
from momos_compress.study.settings import StudySettings

QUICK = StudySettings(seeds=2, measures=MeasureSettings(planes=2, rates="none"))
JOB = Job(QUICK, imports=("momos_zoo",))


class Here:
    """An engine that measures in this process and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, models: Sequence[str], job: Job) -> Iterator[Event]:
        self.asked = list(models)
        for model in models:
            yield Event("started", model)
            yield Event("finished", model, study_model(model, job))


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two weights files without an architecture."""
    paths = []
    for index in range(2):
        generator = torch.Generator().manual_seed(index)
        path = tmp_path / f"net{index}.safetensors"
        save_file({"a.weight": torch.randn(60, 60, generator=generator), "a.bias": torch.randn(9)}, path)
        paths.append(str(path))
    return paths


def test_each_row_is_on_the_disk_when_it_is_told(files: list[str], tmp_path: Path) -> None:
    seen = []

    def observe(event: Event) -> None:
        if event.kind == "finished":
            assert read_row(row_path(tmp_path / "out", event.model)) == event.row
        seen.append((event.kind, event.model))

    rows = run_study(files, JOB, tmp_path / "out", Here(), observe=observe)
    assert seen == [(kind, model) for model in files for kind in ("started", "finished")]
    assert [row.model for row in rows] == files
    row = rows[0]
    assert (row.status, row.family, row.parameters) == ("ok", "file", 3609)
    assert len(row.reinitialised) == len(row.shuffled) == 2
    assert row.baseline is not None
    assert "Gaussian" in row.baseline
    assert row.revision is not None
    assert row.revision.startswith("sha256:")
    ratio = row.ratio("windowed")
    assert ratio is not None
    assert 0.9 < ratio.low < ratio.high < 1.1
    assert [layer.name for layer in row.layers] == ["a.bias", "a.weight"]
    assert row.layers[1].complexity.matrix == row.complexity.matrix  # type: ignore[union-attr]
    assert set(row.layers[1].shuffled) == {"sign", "windowed", "matrix", "qubd"}
    assert row.seconds == pytest.approx(sum(row.stages.values()))


def test_a_second_run_measures_only_what_changed(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, engine = tmp_path / "out", Here()
    models = [*files, str(tmp_path / "gone.safetensors"), "digits"]
    first = run_study(models, JOB, out, engine)
    assert engine.asked == models
    assert [row.status for row in first] == ["ok", "ok", "failed", "ok"]
    assert first[2].error == f"no file or directory {models[2]!r}"
    kept = []
    assert run_study(models, JOB, out, engine, observe=lambda event: kept.append(event))[:2] == first[:2]
    assert engine.asked == [models[2]]  # a failed one is tried again
    assert [event.model for event in kept if event.kind == "kept"] == [*files, "digits"]
    shutil.copy(files[1], files[0])  # other weights under the same name
    row_path(out, files[1]).write_text("damaged")
    half_written = row_path(out, files[1]).with_name(".x.json.abcd.tmp")
    half_written.write_text("left by a kill")
    again = run_study(models, JOB, out, engine)
    assert engine.asked == models[:3]
    assert not half_written.exists()
    assert again[0].revision == first[1].revision != first[0].revision
    run_study(["digits"], replace(JOB, settings=replace(QUICK, seeds=1)), out, engine)
    assert engine.asked == ["digits"]
    run_study(["digits"], replace(JOB, settings=replace(QUICK, seeds=1, device="cpu")), out, engine)
    assert engine.asked == []  # where it was computed does not matter
    monkeypatch.setattr("momos_compress.study.run.version", lambda: "next")
    run_study(["digits"], replace(JOB, settings=replace(QUICK, seeds=1)), out, engine)
    assert engine.asked == ["digits"]


def test_rows_hold_where_nobody_can_tell_the_revision(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Here()
    run_study(files, JOB, tmp_path / "out", engine)
    monkeypatch.setattr("momos_compress.study.run.revision_of", lambda model, settings: None)
    run_study(files, JOB, tmp_path / "out", engine)
    assert engine.asked == []


def test_random_weights_are_compared_with_other_seeds(tmp_path: Path) -> None:
    job = replace(JOB, settings=replace(QUICK, pretrained=False, seeds=3))
    row = run_study(["test_vit"], job, tmp_path, Here())[0]
    assert (row.status, row.revision) == ("ok", "random, seed 0")
    assert row.baseline is not None
    assert [f"seed {seed}" in row.baseline for seed in range(4)] == [False, True, True, True]
    for measure, width in (("sign", 0.01), ("windowed", 0.01), ("matrix", 0.02)):
        ratio = row.ratio(measure)  # type: ignore[arg-type]
        assert ratio is not None
        assert ratio.mean == pytest.approx(1, abs=width)
        assert 1 not in ratio.values  # not the same weights


def test_an_error_in_the_engine_keeps_the_rows_and_frees_the_directory(files: list[str], tmp_path: Path) -> None:
    closed = []

    def falls(models: Sequence[str], job: Job) -> Iterator[Event]:
        try:
            yield Event("finished", models[0], failed_row(models[0], job.settings, "why"))
            yield Event("started", models[1])
        finally:
            closed.append(True)

    def observe(event: Event) -> None:
        if event.kind == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(files, JOB, tmp_path / "out", falls, observe=observe)
    assert closed == [True]
    assert read_row(row_path(tmp_path / "out", files[0])).error == "why"
    assert len(run_study(files, JOB, tmp_path / "out", Here())) == 2


def test_a_directory_serves_one_study_at_a_time(files: list[str], tmp_path: Path) -> None:
    def nested(event: Event) -> None:
        with pytest.raises(MomosError, match="in use by another study"):
            run_study(files, JOB, tmp_path / "out", Here())

    run_study(files[:1], JOB, tmp_path / "out", Here(), observe=nested)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "`seeds` must be at least 1"),
        ({"measures": MeasureSettings(planes=17)}, "`planes` must lie in 1 to 16"),
        ({"measures": MeasureSettings(percentile=50.0)}, "`percentile` must lie above 50"),
    ],
)
def test_wrong_settings_are_told_before_anything_runs(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    job = replace(JOB, settings=replace(QUICK, **changes))  # type: ignore[arg-type]
    with pytest.raises(MomosError, match=message):
        run_study(["digits"], job, tmp_path / "out", Here())
    with pytest.raises(MomosError, match="no models"):
        run_study([], JOB, tmp_path / "out", Here())
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MomosError, match="cannot be used"):
        run_study(["digits"], JOB, tmp_path / "file", Here())


# The engine of one machine


def measured_alone(model: str) -> Row:
    return replace(study_model(model, JOB), stages={}, seconds=0, peak_memory_bytes=0)


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_give_the_same_rows_and_survive_those_that_die(
    files: list[str], tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    models = [files[0], "fault-killed", "fault-crashed", "fault-broken", files[1], "digits"]
    job = replace(JOB, imports=("momos_zoo", "study_faults"))
    flights, most = set(), 0

    def observe(event: Event) -> None:
        nonlocal most
        flights.symmetric_difference_update({event.model})
        most = max(most, len(flights))

    def engine(names: Sequence[str], given: Job) -> Iterator[Event]:
        return run_local(names, given, workers=workers)

    rows = run_study(models, job, tmp_path / "out", engine, observe=observe)
    assert most == workers
    assert [row.status for row in rows] == ["ok", "failed", "failed", "failed", "ok", "ok"]
    assert str(rows[1].error).startswith("its process was killed, most likely for lack of memory")
    assert rows[2].error == "its process ended with exit code 7: about to fall"
    assert rows[3].error == "its process ended with exit code 1: RuntimeError: an error of ours"
    assert capfd.readouterr().err == ""  # what processes say does not run into the display
    for index in (0, 4, 5):
        assert replace(rows[index], stages={}, seconds=0, peak_memory_bytes=0) == measured_alone(models[index])
        assert rows[index].peak_memory_bytes > 2**27


def test_no_workers_is_a_mistake() -> None:
    with pytest.raises(MomosError, match="`workers` must be at least 1"):
        list(run_local(["digits"], JOB, workers=0))


# The program


WITH_FAULTS = """
import study_faults
from momos_cli.app import main
from momos_compress.study.model import Job
own = Job.__init__
def init(self, settings, imports=(), **more):
    own(self, settings, (*imports, "study_faults"), **more)
Job.__init__ = init
main()
"""


def start(directory: Path, *words: str, go: Path | None = None) -> "subprocess.Popen[str]":
    """The program; with ``go`` it knows fault-slow, which waits until that file exists."""
    program = ["-m", "momos_cli"] if go is None else ["-c", WITH_FAULTS]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MOMOS_TEST_GO": str(go)}
    command = [sys.executable, *program, "study", *words, "--seeds", "1", "--rates", "none", "-o", "out"]
    return subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def children_of(pid: int) -> set[int]:
    """Processes below ``pid``, at any depth."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_kill_loses_at_most_what_is_in_flight(number: signal.Signals, tmp_path: Path) -> None:
    for index in range(12):
        save_file(
            {"w": torch.randn(300, 300, generator=torch.Generator().manual_seed(index))},
            tmp_path / f"{index:02}.safetensors",
        )
    rows, go = tmp_path / "out" / "rows", tmp_path / "go"
    words = ("*.safetensors", "fault-slow", "--workers", "2")
    process = start(tmp_path, *words, go=go)
    wait_for(lambda: rows.is_dir() and len(list(rows.glob("*.json"))) >= 3)
    children = children_of(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), err
    assert (out, err) == ("", "")
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))  # none goes on alone
    before = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.json")}
    assert 3 <= len(before) < 13
    go.touch()
    again = start(tmp_path, *words, go=go)
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert "13 models; rows in" in out
    after = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.json")}
    assert len(after) == 13
    assert {name: after[name] for name in before} == before
    assert not [path for path in rows.iterdir() if path.suffix != ".json"]


@pytest.mark.parametrize("taken", ["cache", "cache/.in-use"])
def test_a_cache_that_cannot_be_is_told_before_anything_is_measured(taken: str, tmp_path: Path) -> None:
    save_file({"w": torch.randn(80, 80)}, tmp_path / "good.safetensors")
    path = tmp_path / "out" / taken
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    process = start(tmp_path, "good.safetensors", "--max-cache", "0")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "cache cannot hold downloads (" in err
    assert "choose another results directory with " in err
    assert path.read_text() == "mine"
    assert not list((tmp_path / "out" / "rows").iterdir())


def test_failed_models_are_told_by_the_exit_code(tmp_path: Path) -> None:
    save_file({"w": torch.randn(80, 80)}, tmp_path / "good.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(os.urandom(100))
    process = start(tmp_path, "good.safetensors", "bad.safetensors", "resnet99x")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "3 models, 2 failed" in out
    assert [line.split(":")[:2] for line in err.splitlines()] == [
        ["warning", " bad.safetensors failed"], ["warning", " resnet99x failed"],
    ]  # fmt: skip
