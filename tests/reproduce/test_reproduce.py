"""The paper's study from one command, on the digits."""

import csv
import json
from pathlib import Path

import pytest
from conftest import run_command

from momos_compress import MomosError, MomosFile
from momos_compress.reproduce.momos import NETWORKS, StudyNetwork, study_runs

WORDS = ("reproduce", "momos", "--data", "digits-train", "--test", "digits", "--networks", "digits_resnet8")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_study_runs_once_and_is_drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*WORDS, "--figures", "3,4", "--c", "0.01,0.1", "--s", "4,8", "--epochs", "2", "-o", "out")
    code, out, err = run_command(capsys, monkeypatch, *words, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert (record["ran"], record["kept"]) == (4, 0)
    with Path("out/momos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    for run in record["runs"]:
        own = [row for row in rows if f"{row['network']}-s{row['s']}-c{row['c']}-seed{row['seed']}" == run]
        assert [row["epoch"] for row in own] == ["1", "2"]
        assert all(float(row["distortion"]) > 0 for row in own)
        best = next(row for row in own if row["best"] == "True")
        path = Path("out", run, "model.momos.safetensors")
        assert int(best["file_bytes"]) == path.stat().st_size
        assert MomosFile(path).recipe.extra["protocol"] == "paper"
        assert 0 <= float(best["test_top1"]) <= 100
    by_capacity = {
        c: [float(row["distortion"]) for row in rows if row["c"] == c and row["s"] == "4"] for c in ("0.01", "0.1")
    }
    assert min(by_capacity["0.01"]) > max(by_capacity["0.1"])  # fewer motifs are farther away
    for figure, words_in in ((3, "Distortion over epochs"), (4, "Accuracy over capacity")):
        drawn = Path(f"out/figure{figure}.svg").read_text()
        assert words_in in drawn
        assert "digits_resnet8" in drawn
    before = Path("out/momos.csv").read_bytes()
    assert not json.loads(Path("out", record["runs"][0], "run.json").read_text())["settings"]["bfloat16"]
    code, _, err = run_command(capsys, monkeypatch, *words, "--bfloat16")
    assert code == 2
    assert "holds another run" in err  # what was trained otherwise is not of the same study
    again = json.loads(run_command(capsys, monkeypatch, *words, "--json")[1])
    assert (again["ran"], again["kept"]) == (0, 4)
    assert Path("out/momos.csv").read_bytes() == before


def test_figures_need_their_own_runs() -> None:
    names = [run.name for run in study_runs(NETWORKS, (3,), (0.01,), (2, 4, 8), 1)]
    assert names == ["momos_mlp-s4-c0.01-seed0", "cifar_resnet20-s4-c0.01-seed0"]
    assert len(study_runs(NETWORKS, (3, 4, 5), (0.005, 0.01, 0.05, 0.1), (2, 4, 8), 1)) == 3 * 3 * 4
    assert len(study_runs(NETWORKS, (5,), (0.005, 0.01), (2, 4, 8), 3)) == 6
    short = study_runs(NETWORKS, (3, 4, 5), (0.01,), (2, 4, 8), 1, whole=False)
    assert [run.s for run in short if run.network.name == "cifar_vit"] == [4]
    assert len(short) == 3 + 3 + 1
    with pytest.raises(MomosError, match="`figures` 2 is none of 3, 4, 5"):
        study_runs(NETWORKS, (2,), (0.01,), (4,), 1)
    with pytest.raises(MomosError, match="in none of the figures"):
        study_runs([StudyNetwork("a", 3)], (5,), (0.01,), (4,), 1)
    with pytest.raises(MomosError, match="`seeds` must be at least 1"):
        study_runs(NETWORKS, (3,), (0.01,), (4,), 0)
