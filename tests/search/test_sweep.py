"""Sweeps of the demo: every combination a row, resumed, drawn."""

import csv
import json
from pathlib import Path

import pytest
from conftest import run_command

from momos_compress.search import sweep as sweep_module
from momos_compress.search.sweep_figure import Axis, rate_chart
from momos_compress.search.sweep_rows import SweepRow, read_rows, write_rows


@pytest.fixture(autouse=True)
def _in_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    return run_command(capsys, monkeypatch, "sweep", "digits", "--calibrate", "none", *words)


def test_every_combination_is_a_row_and_is_not_computed_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run(capsys, monkeypatch, "--c", "0.002,0.005", "--s", "4,8", "-o", "r", "--json")
    found = json.loads(out)
    assert (code, err, found["kept"]) == (0, "", 0)
    assert [(row["c"], row["s"]) for row in found["rows"]] == [(0.002, 4), (0.002, 8), (0.005, 4), (0.005, 8)]
    with Path("r/sweep.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [int(row["file_bytes"]) for row in written] == [row["file_bytes"] for row in found["rows"]]
    assert found["rows"][0]["measured"] == "top-1 accuracy on the 450 images of digits"
    assert found["rows"][0]["score"] == pytest.approx(99.56 - found["rows"][0]["drop"], abs=0.01)
    figure = Path("r/sweep.svg").read_text()
    assert "bits per weight" in figure
    assert "top-1 accuracy" in figure
    names = {path.name for path in Path("r").iterdir()}
    assert names - {".lock"} == {"sweep.csv", "sweep.svg"}

    tried: list[int] = []
    real = sweep_module.try_settings
    monkeypatch.setattr(sweep_module, "try_settings", lambda c, s, *rest: tried.append(s.s) or real(c, s, *rest))
    code, out, err = run(capsys, monkeypatch, "--c", "0.002", "--s", "16,8", "-o", "r")
    assert (code, err, tried) == (0, "", [16])
    assert "1 of them from before" in out
    assert len(read_rows(Path("r/sweep.csv"))) == 5


def test_a_combination_that_fails_is_a_row_and_is_tried_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sweep_module.try_settings

    def fails(checkpoint: object, settings: sweep_module.Settings, *rest: object) -> object:
        if settings.s == 16:
            raise MemoryError
        return real(checkpoint, settings, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep_module, "try_settings", fails)
    words = ("--c", "0.002", "--s", "16,8", "-o", "r", "--json")
    code, out, err = run(capsys, monkeypatch, *words)
    assert code == 1
    assert err == "warning: c = 0.002, s = 16, rate weight 3 failed: MemoryError\n"
    assert [row["status"] for row in json.loads(out)["rows"]] == ["failed", "ok"]
    assert json.loads(out)["rows"][0]["file_bytes"] is None
    monkeypatch.setattr(sweep_module, "try_settings", real)
    code, out, err = run(capsys, monkeypatch, *words)
    assert (code, err, json.loads(out)["kept"]) == (0, "", 1)


def test_rows_of_other_settings_are_not_mixed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--c", "0.002", "--s", "16", "-o", "r", "--quiet")
    assert run(capsys, monkeypatch, *words) == (0, "", "")
    before = Path("r/sweep.csv").read_bytes()
    code, _, err = run(capsys, monkeypatch, *words, "--seed", "1")
    assert code == 2
    assert "sweep.csv is of another model, data or settings" in err
    assert Path("r/sweep.csv").read_bytes() == before
    Path("r/sweep.csv").write_text("a,b\n1,2\n")
    code, _, err = run(capsys, monkeypatch, *words)
    assert code == 2
    assert "not the rows of a sweep" in err


def test_a_figure_shows_the_rate_weights_where_there_are_several() -> None:
    records = [
        {"s": s, "rate_weight": weight, "k": 10, "ratio": 8.0, "bits_per_weight": 4.0, "output_error": 0.1 * s * weight}
        for s in (2, 4)
        for weight in (1.0, 2.0)
    ]
    spec = rate_chart(records, "m", Axis("output_error", "output error", logarithmic=True))
    assert spec["datasets"]["points"] == records
    line, point = spec["layer"]
    assert point["encoding"]["shape"]["field"] == "rate_weight"
    assert line["encoding"]["y"]["scale"]["type"] == "log"
    assert (
        "shape"
        not in rate_chart(records[:1], "m", Axis("output_error", "error", logarithmic=True))["layer"][1]["encoding"]
    )


def test_rows_survive_their_file(tmp_path: Path) -> None:
    rows = [
        SweepRow(
            0.01,
            4,
            1.0,
            "ok",
            10,
            1000,
            4.5,
            1.25,
            99.5,
            0.5,
            0.99,
            0.25,
            distortion=0.25,
            seconds=1.5,
            measured="a, b",
            run="r",
        ),
        SweepRow(0.01, 8, 1.0, "failed", run="r", failure='it said "no", twice'),
    ]
    write_rows(tmp_path / "sweep.csv", rows)
    assert list(read_rows(tmp_path / "sweep.csv").values()) == rows
