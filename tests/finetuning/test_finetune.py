"""Training runs on the digits, from the command to the file; interrupted, mistaken and resumed."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from conftest import minilm_directory, run_command
from safetensors.torch import save_file
from test_train_cifar import generate
from waiting import wait_for

import momos_zoo  # noqa: F401
from momos_compress import MomosFile, Settings, compress, load_model, open_checkpoint
from momos_compress.finetuning import checkpoints
from momos_compress.finetuning import loop as finetune_loop
from momos_compress.finetuning.epochs import EpochOrder
from momos_compress.finetuning.run import MODES
from momos_compress.finetuning.samples import Samples
from momos_compress.finetuning.settings import Mode
from momos_compress.measures.bdm import sign_bdm
from momos_compress.networks.accuracy import evaluate

FAST = ("--calibrate", "none", "--k", "300", "--batch-size", "256")
"""A start that is not fitted to the data has more to learn, and takes no time."""


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Command:
    """``momos-compress finetune`` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._how = capsys, monkeypatch

    def __call__(self, *words: str) -> dict[str, object]:
        code, out, err = run_command(*self._how, "finetune", *words, "--json")
        assert code == 0, err
        report: dict[str, object] = json.loads(out)
        return report

    def mistake(self, *words: str) -> str:
        """The one line that it ends with."""
        code, out, err = run_command(*self._how, "finetune", *words)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        return err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


def metrics(directory: str) -> list[dict[str, float]]:
    with Path(directory, "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def test_the_demo_learns_and_its_file_is_what_was_measured(command: Command) -> None:
    report = command("digits", *FAST, "--epochs", "4", "-o", "run")
    path = Path("run/model.momos.safetensors")
    start, tuned = MomosFile("run/start.momos.safetensors"), MomosFile(path)
    assert report["file_bytes"] == path.stat().st_size
    assert report["file_bytes_before"] == start.path.stat().st_size
    assert report["ratio"] == pytest.approx(open_checkpoint("digits").source_bytes / path.stat().st_size)
    assert abs(path.stat().st_size / start.path.stat().st_size - 1) < 0.03
    for name in start.recipe.tensors:
        assert torch.equal(tuned.indices(name), start.indices(name))
    test = report["test"]
    assert isinstance(test, dict)
    for when, file in (("before", start.path), ("after", path)):
        assert test[when]["top1"] == evaluate(load_model(file), "digits").top1
    assert test["teacher"]["top1"] > 99
    assert test["after"]["top1"] > test["before"]["top1"] + 2
    rows = metrics("run")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert rows[-1]["validation_loss"] < 0.8 * rows[0]["validation_loss"]
    assert report["best_epoch"] == 1 + int(np.argmin([row["validation_loss"] for row in rows]))
    record = json.loads(Path("run/run.json").read_text())
    assert record["finished"] is True
    assert record["result"]["test"] == test
    assert record["data"]["train"]["samples"] + record["data"]["validation"]["samples"] == 1347
    assert record["data"]["test"]["samples"] == 450
    assert tuned.recipe.extra["finetuned"]["distortion_of"] == "original"


def test_the_same_seed_gives_the_same_file_and_another_another(command: Command) -> None:
    for directory, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        command("digits", *FAST, "--seed", seed, "-o", directory)
    files = [Path(directory, "model.momos.safetensors").read_bytes() for directory in "abc"]
    assert files[0] == files[1] != files[2]


def test_a_file_learns_from_labels_where_its_network_is_unknown(command: Command) -> None:
    compress(open_checkpoint("digits"), Settings(k=300, calibrate="none", bdm=False), "d.momos.safetensors")
    before = Path("d.momos.safetensors").read_bytes()
    words = ("--data", "digits-train", "--test", "digits", "--batch-size", "256", "--epochs", "3")
    report = command("d.momos.safetensors", *words, "-o", "labels")
    assert report["loss"] == "labels"
    assert report["ratio"] is None
    assert "teacher" not in report["test"]  # type: ignore[operator]
    assert report["test"]["after"]["top1"] > report["test"]["before"]["top1"]  # type: ignore[index]
    assert MomosFile("labels/model.momos.safetensors").recipe.extra["finetuned"]["distortion_of"] == "file before"
    both = command("d.momos.safetensors", *words, "--teacher", "digits", "--loss", "both", "-o", "both")
    assert both["loss"] == "both"
    assert both["test"]["after"]["top1"] > both["test"]["before"]["top1"]  # type: ignore[index]
    assert Path("d.momos.safetensors").read_bytes() == before


def test_images_without_labels_teach_as_well(command: Command, work: Path) -> None:
    compress(
        open_checkpoint("cifar_resnet20", pretrained=False),
        Settings(k=300, calibrate="none", bdm=False),
        "c.momos.safetensors",
    )
    generate(work / "images", 24)
    words = ("--data", "images/a", "--batch-size", "8", "--epochs", "2", "--validation", "images/b")
    report = command("cifar_resnet20", "--no-pretrained", *words, "--k", "300", "--calibrate", "none", "-o", "run")
    assert report["loss"] == "distil"
    assert report["test"] == {}
    rows = metrics("run")
    assert set(rows[0]) == {"epoch", "step", "learning_rate", "train_loss", "validation_loss", "seconds"}
    assert report["validation"]["before"]["loss"] > rows[1]["validation_loss"]  # type: ignore[index]
    assert "labels are needed" in command.mistake(
        "c.momos.safetensors", "--data", "images/a", "--validation", "images/b", "-o", "other"
    )


def test_motifs_are_fitted_to_images_that_are_trained_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from momos_compress.calibration import budget

    monkeypatch.setattr(budget, "PASSES", (4,))
    report = command("digits", "--c", "0.02", "-o", "run")
    start = MomosFile("run/start.momos.safetensors")
    assert start.recipe.extra["method"] == "hessian"
    assert report["test"]["before"]["top1"] > 95  # type: ignore[index]


def test_gradients_of_several_batches_make_a_step(command: Command) -> None:
    words = ("digits", "--calibrate", "none", "--k", "300", "--augment", "none", "--save-every", "0")
    whole = command(*words, "--batch-size", "256", "-o", "whole")
    parts = command(*words, "--batch-size", "128", "--accumulate", "2", "-o", "parts")
    assert metrics("whole")[0]["step"] == metrics("parts")[0]["step"] == 5
    assert metrics("whole")[0]["validation_loss"] == pytest.approx(metrics("parts")[0]["validation_loss"], rel=0.05)
    assert whole["file_bytes"] == pytest.approx(parts["file_bytes"], rel=0.01)


def test_bfloat16_learns_the_same(command: Command) -> None:
    command("digits", *FAST, "--epochs", "2", "-o", "full")
    command("digits", *FAST, "--epochs", "2", "--bfloat16", "-o", "half")
    full, half = metrics("full")[-1], metrics("half")[-1]
    assert full["train_loss"] != half["train_loss"]
    assert full["validation_loss"] == pytest.approx(half["validation_loss"], rel=0.1)


# The paper's scheme


def test_the_papers_scheme_projects_after_each_epoch(command: Command) -> None:
    words = ("digits", "--mode", "paper", "--c", "0.05", "--epochs", "3", "--loss", "labels", "-o", "run")
    report = command(*words)
    file, rows = MomosFile("run/model.momos.safetensors"), metrics("run")
    assert report["mode"] == "paper"
    assert report["file_bytes_before"] is None
    assert all(row["distortion"] > 0 and row["changed"] > 0 for row in rows)
    k = int(0.05 * file.recipe.blocks)
    assert all(0 < row["motifs"] <= k for row in rows)
    assert file.recipe.k <= k
    assert (file.codebook == 0).all(dim=1).any()
    assert "bn1.weight" in file.recipe.tensors  # all trainable parameters take part
    best = rows[int(report["best_epoch"]) - 1]  # type: ignore[call-overload]
    assert best["validation_top1"] == max(row["validation_top1"] for row in rows)
    assert report["validation"]["after"]["top1"] == best["validation_top1"]  # type: ignore[index]
    assert report["test"]["after"]["top1"] == evaluate(load_model(file.path), "digits").top1  # type: ignore[index]


def test_weights_that_are_rounded_in_every_pass(command: Command) -> None:
    words = ("digits", "--mode", "paper", "--c", "0.05", "--epochs", "2", "--q", "3")
    report = command(*words, "-o", "run")
    file, plain = MomosFile("run/model.momos.safetensors"), command(*words[:-2], "-o", "plain")
    for name, tensor in file.recipe.tensors.items():
        levels = file.get(name).unique()
        if len(tensor.shape) > 1:
            # Seven, evenly spaced about zero: -3 to 3 steps.
            steps = levels / levels.abs().max() * 3
            assert 1 < len(levels) <= 7
            assert torch.allclose(steps, steps.round(), atol=1e-3)
    assert file.recipe.k <= MomosFile("plain/model.momos.safetensors").recipe.k
    assert report["test"]["after"]["top1"] == evaluate(load_model(file.path), "digits").top1  # type: ignore[index]
    assert report["test"]["after"] != plain["test"]["after"]  # type: ignore[index]
    state = torch.load("run/model_best.pth.tar", weights_only=True)["state_dict"]
    free = [value for name, value in state.items() if name.endswith(".original")]
    assert max(len(value.unique()) for value in free) > 7
    command(*words, "-o", "run", "--resume")


# What is told


def test_complexity_is_measured_after_every_epoch(command: Command) -> None:
    command("digits", *FAST, "--epochs", "2", "--complexity", "-o", "run")
    command("digits", *FAST, "--epochs", "2", "-o", "plain")
    rows = metrics("run")
    assert [row | {"seconds": 0} for row in metrics("plain")] == [
        {name: value for name, value in row.items() if name not in ("bdm", "sign_entropy")} | {"seconds": 0}
        for row in rows
    ]
    model, file = load_model("run/model.momos.safetensors"), MomosFile("run/model.momos.safetensors")
    names = [*file.recipe.tensors, *(name for name, p in model.named_parameters() if p.ndim < 2)]
    found = sign_bdm([model.get_parameter(name) for name in names])
    best = int(np.argmin([row["validation_loss"] for row in rows]))
    assert rows[best]["bdm"] == pytest.approx(found, rel=0.01)  # norms are rounded on their way into the file
    command("digits", "--mode", "paper", "--c", "0.05", "--epochs", "1", "--complexity", "-o", "paper")
    row = metrics("paper")[0]
    model = load_model("paper/model.momos.safetensors")
    assert row["bdm"] == sign_bdm(model.parameters())
    assert 0 < row["entropy"] <= np.log2(row["motifs"])


def test_a_run_is_drawn(command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    command("digits", *FAST, "--epochs", "3", "--complexity", "-o", "run")
    code, out, _ = run_command(capsys, monkeypatch, "report", "run")
    assert code == 0
    assert "run: 3 epochs -> " in out
    drawn = Path("run/curves.svg").read_text()
    for words in ("Training of digits", "validation", "top-1 (%)", "sign BDM (bits)"):
        assert words in drawn
    assert "distortion D" not in drawn
    assert Path("run/curves.png").read_bytes()[:4] == b"\x89PNG"
    Path("begun").mkdir()
    shutil.copy("run/run.json", "begun/run.json")
    code, out, err = run_command(capsys, monkeypatch, "report", "begun")
    assert (code, out) == (2, "")
    assert "no epoch is finished" in err
    code, out, _ = run_command(capsys, monkeypatch, "report", "run", "-o", "other", "--json")
    assert json.loads(out)["epochs"] == 3
    assert Path("other/curves.svg").read_text() == drawn


def test_a_tracker_is_told_as_well(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, float]] = []

    class Told:
        def __init__(self, run_name: str, logging_dir: str) -> None:
            assert (run_name, logging_dir) == ("tracker", "run")

        def start(self) -> None: ...

        def store_init_configuration(self, values: dict[str, object]) -> None:
            assert values["epochs"] == 2

        def log(self, values: dict[str, float], step: int) -> None:
            told.append({**values, "step": step})

        def finish(self) -> None:
            assert len(told) == 2

    monkeypatch.setattr("accelerate.tracking.TensorBoardTracker", Told)
    command("digits", *FAST, "--epochs", "2", "--tracker", "tensorboard", "-o", "run")
    assert told == [pytest.approx(row) for row in metrics("run")]
    assert "unknown --tracker 'paper'" in command.mistake("digits", *FAST, "--tracker", "paper", "-o", "other")


def test_every_mode_of_the_settings_trains_something() -> None:
    assert set(MODES) == set(get_args(Mode))


def test_an_order_under_way_counts_the_steps_of_the_whole_epoch() -> None:
    order = EpochOrder(40, 4, seed=0)
    order.start = 7
    assert (order.batches, len(order)) == (10, 3)


# Interrupted


PROGRAM = "from momos_cli.app import main; main()"
HELD = f"""
import time
from pathlib import Path
from momos_compress.finetuning.checkpoints import Checkpoints
keep = Checkpoints.within_epoch
def within_epoch(self):
    if list(self.directory.glob("recovery-1-*")):
        Path("held").touch()
        time.sleep(600)
    keep(self)
Checkpoints.within_epoch = within_epoch
{PROGRAM}
"""
"""Stands still in the second epoch, steps after its first checkpoint, about to write the second one."""


def start(words: list[str], code: str = PROGRAM) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", code, "finetune", *words], env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["codebook", "paper"])
def test_a_killed_run_goes_on_to_the_same_weights(mode: str, work: Path) -> None:
    words = ["digits", "--batch-size", "64", "--epochs", "2", "--save-every", "2", "--quiet", "--mode", mode]
    words += ["--k", "300", *(["--calibrate", "none"] if mode == "codebook" else [])]
    whole = start([*words, "-o", "whole"])
    broken = start([*words, "-o", "broken"], HELD)
    wait_for(lambda: Path("held").exists() or broken.poll() is not None)
    broken.send_signal(signal.SIGKILL)
    assert broken.wait() == -signal.SIGKILL
    assert not Path("broken/model.momos.safetensors").exists()
    assert whole.wait(300) == 0
    again = start([*words, "-o", "broken", "--resume"])
    assert again.wait(300) == 0
    files = [work / name / "model.momos.safetensors" for name in ("whole", "broken")]
    assert files[0].read_bytes() == files[1].read_bytes()
    last = [torch.load(file.with_name("last.pth.tar"), weights_only=True) for file in files]
    for name, tensor in last[0]["state_dict"].items():
        assert torch.equal(tensor, last[1]["state_dict"][name]), name
    rows = [[row | {"seconds": 0} for row in metrics(name)] for name in ("whole", "broken")]
    assert rows[0] == rows[1]
    assert json.loads(Path("broken/run.json").read_text())["result"]["resumed"] is True


@pytest.mark.slow
def test_two_processes_train_one_network(work: Path) -> None:
    words = ["digits", *FAST, "--epochs", "2", "--augment", "none", "--save-every", "3"]
    assert start([*words, "-o", "one"]).wait(300) == 0
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    launch += ["-m", "momos_cli", "finetune"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([*launch, *words, "-o", "two", "--json"], env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    report = json.loads(done.stdout)  # one of them speaks
    assert report["processes"] == json.loads(Path("two/run.json").read_text())["processes"] == 2
    one, two = metrics("one"), metrics("two")
    assert [row["step"] for row in one] == [row["step"] for row in two] == [5, 10]
    for name in ("train_loss", "validation_loss"):
        assert [row[name] for row in two] == pytest.approx([row[name] for row in one], rel=0.02)
    files = [MomosFile(work / name / "model.momos.safetensors") for name in ("one", "two")]
    gap, size = (files[0].codebook - files[1].codebook).square().sum(), files[0].codebook.square().sum()
    assert gap < 1e-3 * size
    odd = [*launch, "digits", "--calibrate", "none", "--k", "300", "--batch-size", "255", "-o", "odd"]
    refused = subprocess.run(odd, env=environment, capture_output=True, timeout=300)
    assert refused.returncode != 0
    assert b"--batch-size 255 is no multiple of the 2 processes" in refused.stderr


@pytest.mark.parametrize("when", ["before validation", "after validation"])
def test_a_loss_that_is_no_number_stops_and_what_was_kept_stays(
    when: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("digits", *FAST, "--loss", "labels", "--augment", "none", "--epochs", "3", "-o", "bad")
    real, steps = finetune_loop.Trainer.measure, 0

    def spoil(trainer: finetune_loop.Trainer, samples: Samples) -> dict[str, float]:
        nonlocal steps
        steps += 1
        last = steps == 4  # validation and test before, validation after the first epoch and the second
        motifs = trainer.model.momos_codebook.motifs
        assert isinstance(motifs, torch.nn.Parameter)
        figures = real(trainer, samples) if when == "after validation" else {}
        with torch.no_grad():
            motifs.mul_(float("nan") if last else 1.0)
        return figures or real(trainer, samples)

    monkeypatch.setattr(finetune_loop.Trainer, "measure", spoil)
    where = "in step 1 of epoch 3" if when == "after validation" else "on the validation samples after epoch 2"
    assert f"the loss is nan {where}; the last good checkpoint stays" in command.mistake(*words)
    assert not Path("bad/model.momos.safetensors").exists()
    kept = torch.load("bad/last.pth.tar", weights_only=True)
    assert kept["epoch"] == (2 if when == "after validation" else 1)
    assert bool(torch.isfinite(kept["state_dict"]["momos_codebook.motifs"]).all()) == (kept["epoch"] == 1)


def test_a_full_disk_leaves_the_checkpoint_before(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = checkpoints.torch.save, 0

    def full(state: object, file: object) -> None:
        nonlocal count
        count += 1
        if count > 1:
            raise RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0")
        real(state, file)

    monkeypatch.setattr(checkpoints.torch, "save", full)
    words = ("digits", *FAST, "--epochs", "3", "-o", "run")
    assert "the one before it stays" in command.mistake(*words)
    assert torch.load("run/last.pth.tar", weights_only=True)["epoch"] == 1
    assert not list(Path("run").glob(".*tmp*"))
    monkeypatch.setattr(checkpoints.torch, "save", real)
    assert command(*words, "--resume")["resumed"] is True
    assert [row["epoch"] for row in metrics("run")] == [1, 2, 3]


# Mistakes


def test_another_runs_directory_is_refused(command: Command) -> None:
    command("digits", *FAST, "-o", "one")
    assert "holds a run already; go on with --resume" in command.mistake("digits", *FAST, "-o", "one")
    assert "holds another run" in command.mistake("digits", *FAST, "--seed", "1", "-o", "one", "--resume")
    command("digits", *FAST, "--seed", "1", "-o", "two")
    Path("one/model.momos.safetensors").unlink()  # as if it had not come to its end
    shutil.copy("two/last.pth.tar", "one/last.pth.tar")
    assert "is of another run" in command.mistake("digits", *FAST, "-o", "one", "--resume")
    Path("one/last.pth.tar").write_bytes(b"nothing")
    assert "not a checkpoint of a run, or damaged" in command.mistake("digits", *FAST, "-o", "one", "--resume")
    Path("one/run.json").write_text("{}")
    assert "not the record of a run" in command.mistake("digits", *FAST, "-o", "one", "--resume")


def test_what_is_damaged_is_named_and_the_remedy_works(command: Command) -> None:
    words = ("digits", *FAST, "--epochs", "2", "-o", "run", "--resume")
    command(*words)
    before = Path("run/model.momos.safetensors").read_bytes()
    for name in ("start.momos.safetensors", "last.pth.tar"):
        Path("run/model.momos.safetensors").unlink()
        kept = Path("run", name).read_bytes()
        Path("run", name).write_bytes(kept[:300])
        told = command.mistake(*words)
        assert f"run/{name}" in told
        assert "remove it" in told
        Path("run", name).unlink()
        command(*words)
        assert Path("run/model.momos.safetensors").read_bytes() == before
    Path("file").touch()
    assert "'file' cannot be the run's directory" in command.mistake("digits", *FAST, "-o", "file")


def test_another_teacher_is_another_run(command: Command) -> None:
    compress(open_checkpoint("digits"), Settings(k=300, calibrate="none", bdm=False), "d.momos.safetensors")
    state = load_model("d.momos.safetensors").state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, "other.safetensors")
    words = ("d.momos.safetensors", "--data", "digits-train", "--batch-size", "256", "-o", "run")
    command(*words, "--teacher", "digits")
    other = command.mistake(*words, "--teacher", "other.safetensors", "--arch", "digits_resnet8", "--resume")
    assert "holds another run" in other
    shape = ("--no-pretrained", "--mode", "paper", "--data", "digits-train", "--c", "0.1", "-o", "paper")
    command("digits_resnet8", *shape)
    assert "holds another run" in command.mistake("digits_mlp", *shape, "--resume")


def test_a_run_that_goes_on_may_measure_more(command: Command) -> None:
    words = ("digits", *FAST, "--epochs", "2", "-o", "run")
    command(*words)
    last = torch.load("run/last.pth.tar", weights_only=True)
    last["progress"]["epoch"] = 1  # as if it had been killed before its second epoch was kept
    torch.save(last, "run/last.pth.tar")
    Path("run/model.momos.safetensors").unlink()
    command(*words, "--complexity", "--resume")
    with Path("run/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["bdm"] == "" != rows[1]["bdm"]


def test_a_finished_run_is_told_again(command: Command) -> None:
    first = command("digits", *FAST, "-o", "run")
    again = command("digits", *FAST, "-o", "run", "--resume")
    assert again == {**first, "resumed": True}
    file = Path(first["output"])
    contents = file.read_bytes()
    flipped = bytearray(contents)
    flipped[-1] ^= 1
    for damaged in (contents[:-1], bytes(flipped)):
        file.write_bytes(damaged)
        made_anew = command("digits", *FAST, "-o", "run", "--resume")
        assert {**made_anew, "seconds": 0} == {**again, "seconds": 0}
        assert file.read_bytes() == contents
    record = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({**record, "result": {"epochs": 1}}))
    assert command("digits", *FAST, "-o", "run", "--resume")["validation"] == first["validation"]
    Path("run").rename("moved")
    assert command("digits", *FAST, "-o", "moved", "--resume")["output"] == "moved/model.momos.safetensors"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["digits", "--epochs", "0"], "--epochs must be at least 1"),
        (["digits", "--loss", "labels", "--data", "nowhere"], "no image folder or tar 'nowhere'"),
        (["resnet18", "--no-pretrained"], "--data is missing"),
        (["digits", "--teacher", "digits"], "--teacher is for a compressed file"),
        (["digits", "--data", "digits-train", "--test", "digits-train"], "are the same data"),
        (["digits", "--optimiser", "nothing"], "--optimiser 'nothing' cannot be had"),
        (["nothing", "--data", "digits-train"], "no timm model, file or directory"),
        (["d.momos.safetensors", "--data", "digits-train", "--c", "0.1"], "is compressed already"),
        (["d.momos.safetensors", "--data", "digits-train", "--loss", "distil"], "--loss distil needs the original"),
        (["d.momos.safetensors", "--data", "digits-train", "--mode", "paper"], "--mode paper trains dense weights"),
        (
            ["d.momos.safetensors", "--data", "digits-train", "--teacher", "cifar_resnet20", "--no-pretrained"],
            "digits-train: has 10 classes|input size|its images",
        ),
    ],
)
def test_one_line_says_what_is_wrong(words: list[str], expected: str, command: Command) -> None:
    if "d.momos.safetensors" in words:
        compress(open_checkpoint("digits"), Settings(k=300, calibrate="none", bdm=False), "d.momos.safetensors")
    error = command.mistake(*words, "-o", "run")
    assert any(part in error for part in expected.split("|")), error
    assert not Path("run/model.momos.safetensors").exists()


# Texts


def classifier(directory: Path) -> Path:
    """A sequence classifier on two layers of all-MiniLM-L6-v2, trained a little, and texts of two classes."""
    transformers = pytest.importorskip("transformers")
    from momos_compress.sources.architecture import quiet_transformers

    source, random = minilm_directory(), np.random.default_rng(0)
    kinds = (
        ("bread", "soup", "salt", "cheese", "apple", "rice"),
        ("copper", "engine", "bolt", "steel", "wheel", "pump"),
    )
    for part, count in (("train", 96), ("test", 40)):
        rows = []
        for i in range(count):
            words = random.choice(kinds[i % 2], 3, replace=False)
            rows.append({"text": f"The {words[0]} lies beside the {words[1]} and the {words[2]}.", "label": i % 2})
        (directory / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = transformers.AutoConfig.from_pretrained(source, num_labels=2, num_hidden_layers=2)
    with quiet_transformers():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(source, config=config)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        rows = [json.loads(line) for line in (directory / "train.jsonl").read_text().splitlines()]
        batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for _ in range(8):
            optimiser.zero_grad()
            model(**batch, labels=torch.tensor([row["label"] for row in rows])).loss.backward()
            optimiser.step()
        model.eval().save_pretrained(directory / "model")
        tokenizer.save_pretrained(directory / "model")
    return directory / "model"


@pytest.mark.slow
def test_a_text_classifier_trains_through_the_same_loop(command: Command, work: Path) -> None:
    model = str(classifier(work))
    start = ("--k", "4", "--s", "2", "--calibrate", "none", "--batch-size", "16", "--validation", "0.2")
    words = (model, "--data", "train.jsonl", *start)
    report = command(*words, "--test", "test.jsonl", "--epochs", "4", "-o", "run")
    assert report["loss"] == "distil"
    assert report["data"]["train"] == {"data": "train.jsonl", "samples": 77, "noun": "texts", "classes": 2}  # type: ignore[index]
    test = report["test"]
    assert test["teacher"]["top1"] == 100  # type: ignore[index]
    assert test["after"]["top1"] >= test["before"]["top1"]  # type: ignore[index]
    found = load_model("run/model.momos.safetensors")
    assert type(found).__name__ == "BertForSequenceClassification"
    assert metrics("run")[-1]["validation_loss"] < 0.8 * report["validation"]["before"]["loss"]  # type: ignore[index]
    labels = command(*words, "--loss", "labels", "-o", "labels")
    assert metrics("labels")[0]["validation_loss"] < labels["validation"]["before"]["loss"]  # type: ignore[index]
    Path("texts.txt").write_text("\n".join(f"A {word} text." for word in ("first", "second", "third", "last") * 6))
    assert command(model, "--data", "texts.txt", *start, "-o", "unlabelled")["loss"] == "distil"
    assert "labels are needed" in command.mistake(model, "--data", "texts.txt", "--loss", "labels", "-o", "other")
    Path("some.jsonl").write_text('{"text": "a text", "label": 0}\n{"text": "more"}\n' * 9)
    assert "some of its texts have no label" in command.mistake(model, "--data", "some.jsonl", "-o", "other")
    Path("many.jsonl").write_text("\n".join(f'{{"text": "a text", "label": {i % 3}}}' for i in range(18)))
    assert "has 3 classes and BertForSequenceClassification 2 outputs" in command.mistake(
        model, "--data", "many.jsonl", "-o", "other"
    )
