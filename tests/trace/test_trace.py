"""Traces: runs with known correlations against scipy, joins, bad input, and a real run from training to the page."""

import csv
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cyclopts import App
from safetensors.torch import save_file
from scipy import stats

from momos_cli.exits import guarded
from momos_cli.trace import trace
from momos_compress import MomosError
from momos_compress.measures.bdm import matrix_bdm, sign_bdm, windowed_bdm
from momos_compress.trace.correlations import correlate, groups
from momos_compress.trace.curves import curves_of
from momos_compress.trace.figure import curves_figure
from momos_compress.trace.files import find_runs, step_of
from momos_compress.trace.intervals import interval, mean_over_runs, verdict
from momos_compress.trace.page import trace_page
from momos_compress.trace.points import Run, TracePoint, group_of
from momos_compress.trace.results import prepare_directory, write_results
from momos_compress.trace.run import Trace, trace_runs
from momos_compress.trace.settings import TraceSettings
from momos_compress.trace.tables import FILES
from momos_compress.trace.traced import traced_figures
from momos_zoo import training_runs

STEPS = (0, 1, 4, 9, 16)
FIGURES = (
    "sign", "windowed", "matrix", "qubd", "qubd_plane_1", "sign_entropy", "matrix_entropy", "qubd_plane_1_entropy",
    "matrix_entropy_by_tensor", "qubd_plane_1_entropy_by_tensor", "gzip_sign_rate", "l2", "sparsity", "flipped",
)  # fmt: skip
"""The columns of every trace so far."""


def write_run(
    directory: Path, steps: Sequence[int] = STEPS, *, seed: int = 0, rows: Sequence[str] | None = None
) -> Path:
    """A run whose weights get more and more positive, with a loss that falls."""
    directory.mkdir(parents=True)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(16, 60, generator=generator)
    for step in steps:
        save_file({"w": weight + 0.1 * step, "b": torch.zeros(5)}, directory / f"step-{step:06}.safetensors")
    rows = [f"{step},{2 / (step + 1 + seed)},word" for step in steps] if rows is None else rows
    (directory / "metrics.csv").write_text("\n".join(["step,loss,comment", *rows]) + "\n")
    return directory


def run_of(name: str, measures: dict[str, Sequence[float | None]], loss: Sequence[float]) -> Run:
    """A run as if it had been measured: the figures of each of its steps 0, 1, ..."""
    points = [
        TracePoint(step, "", {m: measures[m][step] if m in measures else 1.0 for m in FIGURES}, {"loss": value})
        for step, value in enumerate(loss)
    ]
    return Run(name, group_of(name), ("loss",), tuple(points))


def five_runs(slopes: Sequence[float]) -> list[Run]:
    rng = np.random.default_rng(7)
    runs = []
    for seed, slope in enumerate(slopes):
        loss = rng.standard_normal(12)
        sign = slope * loss + rng.standard_normal(12)
        runs.append(run_of(f"net-seed{seed}", {"sign": sign.tolist(), "sign_entropy": (-loss).tolist()}, loss.tolist()))
    return runs


def cli(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    app = App(help_format="plaintext")
    app.command(trace)
    code = 0
    try:
        guarded(lambda: app(["trace", *map(str, words)], print_error=False, exit_on_error=False))
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


# Statistics


def test_correlations_and_their_difference_are_scipys() -> None:
    runs = five_runs([0.3, 1, 2, 3, 5])
    correlations, differences = correlate(runs, from_step=4, resamples=200, seed=0)
    found = {(each.measure, each.window): each for each in correlations}
    claims = {(each.bdm, each.entropy, each.window): each for each in differences}
    for window, start in (("all", 0), ("from_step", 4)):
        expected: dict[str, list[float]] = {"pearson": [], "spearman": []}
        for run in runs:
            loss = [point.metrics["loss"] for point in run.points][start:]
            sign = [point.measures["sign"] for point in run.points][start:]
            expected["pearson"].append(stats.pearsonr(sign, loss).statistic)
            expected["spearman"].append(stats.spearmanr(sign, loss).statistic)
        one = found["sign", window]  # type: ignore[index]
        assert one.checkpoints == (12 - start,) * 5
        for kind, values in expected.items():
            got = getattr(one, kind)
            assert got.values == pytest.approx(values, abs=1e-12)
            assert got.mean == pytest.approx(np.mean(values))
            assert got.low <= got.mean <= got.high
            # The entropy is the loss with another sign: its |r| is 1.
            difference = getattr(claims["sign", "sign_entropy", window], kind)  # type: ignore[index]
            assert difference.values == pytest.approx(np.abs(values) - 1, abs=1e-12)
            assert verdict(difference) == "entropy closer"
    flat = found["l2", "all"].pearson
    assert (flat.values, flat.mean, flat.note) == ((None,) * 5, None, "every run: the measure is constant")


def test_the_interval_is_the_widened_percentile_of_all_resamples() -> None:
    values = [0.2, 0.5, 0.55, 0.7, 0.9]
    means = np.mean(np.array(list(product(values, repeat=5))), axis=1)  # every resample there is
    tail = stats.norm.cdf(-np.sqrt(5 / 4) * stats.t.ppf(0.975, 4))
    expected = np.quantile(means, [tail, 1 - tail])
    low, high = interval(values, resamples=100_000, seed=3)
    assert (low, high) == pytest.approx(expected, abs=0.02)
    assert interval(values, resamples=100_000, seed=3) == (low, high)
    assert interval(values, resamples=300, seed=3) != interval(values, resamples=300, seed=4)
    plain = np.quantile(means, [0.025, 0.975])
    assert low < plain[0] < plain[1] < high


def test_the_interval_of_five_normal_values_holds_their_mean_in_93_per_cent() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(3, 1, (300, 5))
    held = sum(low <= 3 <= high for low, high in (interval(row, resamples=2000, seed=0) for row in draws.tolist()))
    assert 0.88 < held / 300 < 0.97


def test_identical_values_one_run_and_few_runs() -> None:
    same = mean_over_runs([0.1, 0.1, 0.1, 0.1, 0.1], resamples=50, seed=0)
    assert (same.low, same.high, same.note) == (0.1, 0.1, None)
    assert verdict(same) == "BDM closer"
    assert verdict(mean_over_runs([0.0] * 5, resamples=50, seed=0)) == "not told apart"
    one = mean_over_runs([0.5], resamples=50, seed=0)
    assert (one.mean, one.low, one.high, one.note) == (0.5, None, None, "one run: no interval")
    assert verdict(one) == "not told apart"
    three = mean_over_runs([0.1, 0.2, 0.3], resamples=50, seed=0)
    assert (round(three.low or 0, 9), verdict(three)) == (
        0.1,
        "not told apart",
    )  # all of three runs above 0 is a chance of 1 in 4
    assert three.note == "3 runs: the interval holds at most 75 %"
    some = mean_over_runs([0.1, "the metric is constant", 0.3, 0.2, 0.2, 0.3], resamples=50, seed=0)
    assert (some.values[1], some.note) == (None, "1 of 6 runs: the metric is constant")
    assert some.mean == pytest.approx(0.22)


def test_what_cannot_be_correlated_says_why() -> None:
    runs = [run_of("a", {"sign": [1, 2, 3], "matrix": [1, None, 3], "qubd": [None] * 3}, [3, 2, 2])]
    found = {each.measure: each.pearson for each in correlate(runs, from_step=None, resamples=9, seed=0)[0]}
    assert found["sign"].note == "one run: no interval"
    assert found["matrix"].note == "2 checkpoints with both"
    assert found["qubd"].note == "no checkpoint with both"
    runs = [run_of("a", {"sign": [1, 2, 3]}, [2, 2, 2])]
    assert correlate(runs, from_step=None, resamples=9, seed=0)[0][0].pearson.note == "the metric is constant"


@pytest.mark.parametrize(
    ("name", "group"),
    [("a-seed3", "a"), ("a_seed12", "a"), ("a-seed", "a-seed"), ("seed3", "seed3"), ("-seed3", "-seed3"),
     ("a-seed3-b", "a-seed3-b"), ("a-b_seed0", "a-b")],
)  # fmt: skip
def test_runs_that_differ_in_their_seed_are_a_group(name: str, group: str) -> None:
    assert group_of(name) == group


# Measuring


def test_each_checkpoint_is_measured_as_the_library_measures(tmp_path: Path) -> None:
    found = trace_runs([write_run(tmp_path / "net-seed0")], TraceSettings(resamples=50))
    (run,) = found.runs
    assert (run.name, run.group, run.metrics) == ("net-seed0", "net", ("loss",))
    weight = torch.randn(16, 60, generator=torch.Generator().manual_seed(0))
    for point, step in zip(run.points, STEPS, strict=True):
        tensor = weight + 0.1 * step
        assert point.step == step
        assert point.metrics == {"loss": 2 / (step + 1)}
        measures = point.measures
        assert tuple(measures) == FIGURES
        assert measures["sign"] == pytest.approx(sign_bdm([torch.zeros(5), tensor]))  # save_file sorts the names
        assert measures["windowed"] is None
        assert windowed_bdm(tensor) == 0
        assert measures["matrix"] == pytest.approx(matrix_bdm(tensor > 0))
        assert measures["matrix_entropy_by_tensor"] == pytest.approx(60 * (measures["matrix_entropy"] or 0))
        assert measures["l2"] == pytest.approx(float(tensor.norm()), rel=1e-6)
        assert measures["sparsity"] == pytest.approx(5 / 965)
        assert measures["flipped"] == pytest.approx(float(((tensor > 0) != (weight > 0)).sum()) / 965)
        qubd = measures["qubd"] or 0
        assert qubd > (measures["qubd_plane_1"] or 0) > 0
    assert verdict(found.differences[0].pearson) == "not told apart"
    assert found.warnings == ()


def test_the_step_is_the_number_at_the_end_of_the_name() -> None:
    names = ("step-000123.safetensors", "epoch=1-step=7.ckpt", "checkpoint-12.pth.tar", "m5.safetensors.index.json")
    assert [step_of(Path(name)) for name in names] == [123, 7, 12, 5]
    assert [step_of(Path(name)) for name in ("best.pt", "step3_final.pt", "9" * 30 + ".pt")] == [None] * 3


def test_directories_of_runs_and_plain_files(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / "all" / f"net-seed{seed}", seed=seed)
    (tmp_path / "all" / "logs").mkdir()
    (tmp_path / "all" / ".cache").mkdir()
    torch.save({"w": torch.zeros(3)}, tmp_path / "all" / "net-seed1" / "best.pt")
    runs, warnings = find_runs([tmp_path / "all"])
    assert [run.name for run in runs] == ["net-seed0", "net-seed1"]
    assert warnings[0].endswith("1 weights file without a step left out (best.pt)")
    assert warnings[1].endswith("all: 1 directory without checkpoints left out")
    save_file({"w": torch.zeros(3)}, tmp_path / "all" / "best.safetensors")
    again, warnings = find_runs([tmp_path / "all"])
    assert (again, len(warnings)) == (runs, 3)
    assert warnings[2].endswith("all: 1 weights file beside the directories of runs left out")
    files = [path for _, path in runs[0].checkpoints]
    ((one,), none) = find_runs(files[::-1])
    assert (one, none) == (runs[0], ())


def test_figures_their_order_and_their_labels() -> None:
    assert tuple(traced_figures()) == FIGURES
    labels = {name: each.label for name, each in traced_figures().items()}
    assert labels["qubd_plane_1"] == "QuBD plane 1"
    assert labels["qubd_plane_1_entropy"] == "entropy, plane 1"
    assert labels["matrix_entropy_by_tensor"] == "entropy, 4 x 4, by tensor"
    assert len(set(labels.values())) == len(labels)


# Metrics


def test_what_does_not_join_is_told(tmp_path: Path) -> None:
    rows = ["0,3,x", "1,nan,x", "4,2,x", "9,1,x", "10,1,x", "11,1,x"]
    found = trace_runs([write_run(tmp_path / "net", rows=rows)], TraceSettings(resamples=9))
    assert found.warnings == (
        "1 checkpoint without a row of metrics left out of the correlations (net: 1)",
        "2 rows of metrics without a checkpoint left out (net: 2)",
        "1 checkpoint left out where loss is empty, NaN or infinite (net: 1)",
    )
    assert [dict(point.metrics) for point in found.runs[0].points] == [{"loss": 3}, {}, {"loss": 2}, {"loss": 1}, {}]
    assert found.correlations[0].checkpoints == (3,)


def test_rows_of_one_step_that_complete_each_other_are_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / "net")
    lines = [line for step in STEPS for line in (f"{step}.0,{step},", f"{step},,{step}")]
    (run / "metrics.csv").write_text("\ufeffstep,a,b\n" + "\n".join(lines), encoding="utf-8")
    (found,) = trace_runs([run], TraceSettings(resamples=9)).runs
    assert [dict(point.metrics) for point in found.points] == [{"a": step, "b": step} for step in STEPS]


def test_one_csv_serves_several_runs_by_its_column_run(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"net-seed{seed}", seed=seed) for seed in (0, 1)]
    log = tmp_path / "log.csv"
    rows = [f"net-seed{seed},{step},{seed + step}" for seed in (0, 1) for step in STEPS]
    log.write_text("\n".join(["run,step,loss", *rows]))
    found = trace_runs(runs, TraceSettings(metrics=str(log), resamples=9))
    assert [run.points[2].metrics["loss"] for run in found.runs] == [4, 5]
    log.write_text("\n".join(["step,loss", "0,1"]))
    with pytest.raises(MomosError, match=r"has no column 'run'; one CSV for 2 runs needs"):
        trace_runs(runs, TraceSettings(metrics=str(log)))
    log.write_text("run,step,loss\nnet-seed0,0,1\n")
    with pytest.raises(MomosError, match=r"has no row whose 'run' is 'net-seed1'; it must be the directory's name"):
        trace_runs(runs, TraceSettings(metrics=str(log)))


def test_runs_with_other_steps_than_their_group_are_told(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"net-seed{seed}", STEPS if seed else STEPS[:3]) for seed in range(3)]
    found = trace_runs(runs, TraceSettings(resamples=9))
    assert found.warnings == ("net: net-seed0 have checkpoints at other steps than net-seed1",)


# Bad input


def _metrics(text: str) -> Callable[[Path], None]:
    return lambda run: (run / "metrics.csv").write_text(text) and None


def _double(run: Path) -> None:
    save_file({"w": torch.zeros(3)}, run / "again-4.safetensors")


def _other(run: Path) -> None:
    save_file({"w": torch.zeros(16, 61), "b": torch.zeros(5)}, run / "step-000004.safetensors")


def _nan(run: Path) -> None:
    save_file({"w": torch.full((16, 60), torch.nan), "b": torch.zeros(5)}, run / "step-000004.safetensors")


def _damage(run: Path) -> None:
    (run / "step-000004.safetensors").write_bytes(b"half")


def _few(run: Path) -> None:
    for path in list(run.glob("step-*"))[2:]:
        path.unlink()


def _unnumbered(run: Path) -> None:
    for path in list(run.glob("step-*")):
        path.rename(run / f"{path.stem}x.safetensors")


BAD = [
    (_double, r"again-4.safetensors' and 'step-000004.safetensors' are both step 4; move one of them away"),
    (_other, r"step-000004.safetensors' is of another network than 'step-000000.safetensors': w is \[16, 61\]"),
    (_nan, r"step-000004.safetensors': w \[16, 60\]: .*(NaN|infinit)"),
    (_damage, r"step-000004.safetensors"),
    (_few, r"net' has 2 checkpoints; a correlation over a run takes at least 3"),
    (_unnumbered, r"x.safetensors' has no step; its name must end in a number, as step-000123.safetensors"),
    (lambda run: (run / "metrics.csv").unlink(), r"net: no file .*metrics.csv'; name the CSV of metrics"),
    (_metrics("epoch,loss\n1,2\n"), r"metrics.csv' has no column 'step'; its header must .* \(it has epoch, loss\)"),
    (_metrics(""), r"has no column 'step'"),
    (_metrics("step,comment\n0,x\n"), r"has no column of numbers beside 'step'"),
    (_metrics("step,loss\n0,1\n\n1,high\n"), r"metrics.csv', line 4: loss is 'high', no number; mend it"),
    (_metrics("step,loss\n0,1\n1.5,2\n"), r"metrics.csv', line 3: the step '1.5' is no whole number"),
    (_metrics("step,loss\n0,1\ninf,2\n"), r"line 3: the step 'inf' is no whole number"),
    (_metrics("step,loss\n0,1\n1,2,3\n"), r"metrics.csv', line 3: 3 cells under a header of 2; mend that line"),
    (_metrics("step,loss\n0,1\n1,2\n1,3\n"), r"lines 3 and 4 both give loss of step 1; remove one"),
    (_metrics("step,loss,loss\n"), r"two columns have the same name; rename one"),
    (_metrics("step,loss\n100,1\n"), r"net: no step in its metrics is a checkpoint's \(these are of steps 0 to 16\)"),
    (lambda run: (run / "metrics.csv").write_bytes(b"step\xff,"), r"metrics.csv' is no CSV in UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "message"), BAD)
def test_bad_input_names_the_thing(tmp_path: Path, spoil: Callable[[Path], Any], message: str) -> None:
    run = write_run(tmp_path / "net")
    spoil(run)
    with pytest.raises(MomosError, match=message) as raised:
        trace_runs([run], TraceSettings(resamples=9))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (TraceSettings(metric=("los",)), r"has no column 'los'; .*\(it has step, loss, comment\)"),
        (TraceSettings(metric=("comment",)), r"line 2: comment is 'word', no number"),
        (TraceSettings(from_step=17), r"`from_step` 17 is after net's last checkpoint, 16"),
        (TraceSettings(from_step=-1), r"`from_step` must be at least 0"),
        (TraceSettings(planes=17), r"`planes` must be 1 to 16, not 17"),
        (TraceSettings(resamples=0), r"`resamples` must be at least 1"),
        (TraceSettings(seed=-1), r"`seed` must be at least 0"),
        (TraceSettings(metrics="away/log.csv"), r"no file 'away/log.csv'; `metrics` takes a name in each run's"),
    ],
)  # fmt: skip
def test_bad_settings_are_named(tmp_path: Path, settings: TraceSettings, message: str) -> None:
    with pytest.raises(MomosError, match=message):
        trace_runs([write_run(tmp_path / "net")], settings)


def test_bad_sources_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a" / "net")
    other = write_run(tmp_path / "b" / "net")
    (tmp_path / "empty").mkdir()
    for sources, message in (
        ([], "no run is named"),
        ([tmp_path / "nowhere"], "no file or directory '.*nowhere'"),
        ([run, other], "two runs have the name 'net'"),
        ([tmp_path / "empty"], "holds no checkpoints, nor do its directories"),
        ([run / "metrics.csv"], r"metrics.csv' has no step; its name must end in a number"),
    ):
        with pytest.raises(MomosError, match=message):
            find_runs(sources)


# Results


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of two epochs on the digits."""
    out, threads = tmp_path_factory.mktemp("runs"), torch.get_num_threads()
    words = "--task digits --weights binary --epochs 2 --images 256 --checkpoints 5 --seeds 2 --out"
    training_runs.main([*words.split(), str(out)])
    torch.set_num_threads(threads)
    return out


def test_a_real_run_from_training_to_the_page(real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = (real, "--metric", "train_loss", "--from-step", "1", "--resamples", "99", "-o", out)
    code, shown, errors = cli(capsys, *words)
    assert (code, errors) == (0, "")
    for part in (
        "digits-binary: correlation with train_loss",
        "over 2 runs",
        "Spearman, from step 1",
        "1-D sign BDM",
        "is BDM closer to train_loss than entropy is?",
        "not told apart",
        "holds at most 50 %",
        "curves.png",
    ):
        assert part in shown
    points = rows_of(out / "points.csv")
    assert len(points) == 10
    first = rows_of(real / "digits-binary-seed1" / "metrics.csv")
    assert [(row["step"], float(row["train_loss"])) for row in points if row["run"] == "digits-binary-seed1"] == [
        (row["step"], float(row["train_loss"])) for row in first
    ]
    assert points[0].keys() == {"group", "run", "step", "file", *FIGURES, "train_loss"}
    correlations = rows_of(out / "correlations.csv")
    assert len(correlations) == 2 * len(FIGURES)
    sign = [float(row["sign"]) for row in points]
    loss = [float(row["train_loss"]) for row in points]
    runs = [stats.pearsonr(sign[i : i + 5], loss[i : i + 5]).statistic for i in (0, 5)]
    assert correlations[0]["measure"] == "sign"
    assert float(correlations[0]["pearson"]) == pytest.approx(np.mean(runs))
    assert {row["checkpoints"] for row in correlations} == {"all checkpoints", "from step 1"}
    record = json.loads((out / "trace.json").read_text())
    assert record["settings"]["from_step"] == 1
    assert record["correlations"][0]["pearson"]["values"] == pytest.approx(runs)
    assert {row["pearson_verdict"] for row in rows_of(out / "differences.csv")} <= {
        "BDM closer", "entropy closer", "not told apart"
    }  # fmt: skip
    svg = (out / "curves.svg").read_text()
    for title in ("Complexity of weights and train_loss over training", "digits-binary (2 runs)", "QuBD plane 1",
                  "training step (square-root scale)", "share of its range", "entropy of the same blocks"):  # fmt: skip
        assert title in svg
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "index.html").read_text()
    assert "<svg" in text
    assert "<script" not in text
    assert "1-D sign BDM" in text
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(before) == {*FILES, "curves.svg", "curves.png", "index.html"}
    assert cli(
        capsys, real, "--metric", "train_loss", "--from-step", "1", "--resamples", "99", "-o", out, "--quiet"
    ) == (0, "", "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_json_without_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "net")
    monkeypatch.setattr("momos_compress.trace.results.find_spec", lambda name: None)
    code, out, err = cli(capsys, run, "-o", tmp_path / "out", "--json", "--resamples", "9")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["files"] == list(FILES)
    assert record["runs"][0]["points"][1]["metrics"] == {"loss": 1.0}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    code, out, _ = cli(capsys, run, "-o", tmp_path / "out", "--resamples", "9")
    assert out.endswith("no curves and no page: for these, pip install 'momos-compress[report]'\n")


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    code, out, err = cli(capsys, write_run(tmp_path / "net"), "-o", tmp_path / "file")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: the directory '{tmp_path / 'file'}' cannot be made")
    assert cli(capsys, "-o", tmp_path / "out")[2].startswith("error: no run is named")


def test_names_from_files_are_text_on_the_page(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>'\\"
    measures = {"sign": [3.0, 2, 1], "sign_entropy": [1.0, 3, 2]}
    run = run_of("x", measures, [3, 2, 1])
    points = tuple(TracePoint(p.step, p.file, p.measures, {name: p.metrics["loss"]}) for p in run.points)
    runs = (Run("<b>-seed0", "<b>", (name,), points),)
    found = Trace(TraceSettings(), runs, *correlate(runs, from_step=None, resamples=9, seed=0), ("<i>",))
    prepare_directory(tmp_path / "out")
    write_results(found, tmp_path / "out")
    text = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;" in text
    assert json.loads((tmp_path / "out" / "trace.json").read_text())["runs"][0]["metrics"] == [name]
    assert trace_page(found, "<svg/>").count("<svg/>") == 1
    spec = curves_figure(curves_of(found, groups(runs)))
    assert name in json.dumps(spec, ensure_ascii=False).replace("\\\\", "\\")
