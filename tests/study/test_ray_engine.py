"""A study on a Ray cluster of two nodes on this machine, one of which is lost."""

import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from momos_compress import MomosError
from momos_compress.measures.settings import MeasureSettings
from momos_compress.study.events import Event
from momos_compress.study.model import Job, study_model
from momos_compress.study.ray_engine import run_ray
from momos_compress.study.rows import Row
from momos_compress.study.run import run_study
from momos_compress.study.settings import StudySettings

JOB = Job(
    StudySettings(seeds=1, measures=MeasureSettings(planes=2, rates="none")), imports=("momos_zoo", "study_faults")
)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed (extra: cluster)")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # Ray writes a token there
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("MOMOS_TEST_GO", str(tmp_path / "go"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    (tmp_path / "home").mkdir()
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    yield started
    started.shutdown()


def without_times(row: Row) -> Row:
    return replace(row, stages={}, seconds=0, peak_memory_bytes=0)


def locked(path: Path) -> bool:
    """Whether the process that locked the file still lives."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.mark.slow
def test_a_node_that_is_lost_costs_nothing(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=2, num_gpus=0)
    cluster.wait_for_nodes()
    slow = ["fault-slow", "fault-slow2", "fault-slow3"]
    models = [*slow, "digits", "fault-broken", "fault-killed", str(tmp_path / "gone.safetensors")]
    events: list[tuple[str, str]] = []

    def begun() -> list[Path]:
        return list(tmp_path.glob("go.*.here"))

    def in_flight() -> int:
        return sum(map(locked, begun()))

    def engine(names: Sequence[str], job: Job) -> Iterator[Event]:
        return run_ray(names, job, address=cluster.address)

    def observe(event: Event) -> None:
        events.append((event.kind, event.model))
        if event.model == slow[-1] and event.kind == "started":
            wait_for(lambda: in_flight() == 3, 600)
            # All three CPUs are taken: the node that goes takes two models with it. Its processes end a little later
            # than it does, and one that was let go before could still hand its row in.
            cluster.remove_node(second, allow_graceful=False)
            wait_for(lambda: in_flight() == 1, 600)
            (tmp_path / "go").touch()

    rows = {row.model: row for row in run_study(models, JOB, tmp_path / "out", engine, observe=observe)}
    assert len(begun()) == 5  # two of them were begun again
    assert sorted(kind for kind, _ in events) == ["finished"] * 7 + ["started"] * 7
    assert without_times(rows["digits"]) == without_times(study_model("digits", JOB))
    for model in slow:
        assert without_times(rows[model]) == without_times(study_model(model, JOB))
        assert rows[model].status == "ok"
    assert rows["fault-broken"].error == "its task ended with an error: RuntimeError: an error of ours"
    assert "after 3 retries" in str(rows["fault-killed"].error)
    assert "no file" in str(rows[models[-1]].error)
    # What is done is kept by a later run, whatever its engine.
    again: list[str] = []
    run_study(["digits", slow[0]], JOB, tmp_path / "out", engine, observe=lambda event: again.append(event.kind))
    assert again == ["kept", "kept"]


def test_impossible_tasks_are_told() -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra: cluster)")
    for options in ({"cpus": 0}, {"gpus": -1}):
        with pytest.raises(MomosError, match="a task needs"):
            list(run_ray(["digits"], JOB, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:port", "127.0.0.1:99999999"])
def test_a_cluster_that_does_not_answer_is_told_at_once(address: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra: cluster)")
    with pytest.raises(MomosError, match=r"no Ray cluster answers at '.*127\.0\.0\.1:"):
        list(run_ray(["digits"], JOB, address=address))


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MomosError, match=r"pip install 'momos-compress\[cluster\]'"):
        list(run_ray(["digits"], JOB))
