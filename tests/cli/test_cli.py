"""The command line in-process: what it prints, where, and with which exit code."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import run_command
from rich.console import Console
from safetensors.torch import save_file

from momos_cli import app as cli
from momos_cli.exits import commands
from momos_compress import load_file
from momos_compress.measures.ctm import string_complexities

REQUIRED = {
    "source", "parameters", "blocks", "k", "s", "source_bytes", "file_bytes", "ratio", "bits_per_weight",
    "mosaic_bytes", "index_bits_per_block", "index_entropy",
    "relative_distortion", "bdm_ratio_before", "bdm_ratio_after", "seconds", "peak_memory_bytes",
}  # fmt: skip


QUICK = ("--calibrate", "none")
"""For what does not depend on how motifs are found."""


@pytest.fixture(autouse=True)
def _in_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_demo_reports_everything_and_accuracy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run_command(capsys, monkeypatch, "digits", "--c", "0.05", *QUICK, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report.keys() >= REQUIRED
    assert report["accuracy_before"] == pytest.approx(99.56, abs=0.3)
    assert 80 < report["accuracy_after"] < 99
    size = Path("digits.momos.safetensors").stat().st_size
    assert report["file_bytes"] == size
    assert report["bits_per_weight"] == pytest.approx(8 * size / 75_002)
    assert report["ratio"] == pytest.approx(report["source_bytes"] / size)
    assert 0.9 < report["bdm_ratio_before"] < 1
    # 6,250 blocks: between one block over and over, and all 4,096 of them evenly.
    table = string_complexities()
    most = table.sum() + 2154 * math.log2(2) + 1942 * math.log2(1)
    limits = [(table.min() + math.log2(6250)) / report["bdm_baseline"], most / report["bdm_baseline"]]
    assert report["bdm_ratio_range"] == pytest.approx(limits, rel=1e-12)
    names = [stage["name"] for stage in report["stages"]]
    assert names[0] == "load"
    assert {"fit", "assign", "write", "read back"} <= set(names)
    assert report["seconds"] == pytest.approx(sum(stage["seconds"] for stage in report["stages"]))
    assert report["peak_memory_bytes"] > 2**27


def test_the_table_says_what_the_json_says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run_command(capsys, monkeypatch, "digits", "--c", "0.05", *QUICK, "-o", "x.momos.safetensors")
    assert (code, err) == (0, "")
    for words in ("75,002", "18,640 of s = 4", "k = 931", "bits per weight", "dB", "BDM ratio", "99.56 % before"):
        assert words in out
    assert "peak memory" in out
    assert Path("x.momos.safetensors").is_file()


def test_coded_indices_take_little_more_than_their_entropy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reports, records = {}, {}
    for coding in ("packed", "ans"):
        words = ("digits", "--c", "0.05", "--no-bdm", *QUICK, "--coding", coding, "-o", "x.momos.safetensors")
        reports[coding] = json.loads(run_command(capsys, monkeypatch, *words, "--json")[1])
        records[coding] = json.loads(run_command(capsys, monkeypatch, "inspect", "x.momos.safetensors", "--json")[1])
        report, record = reports[coding], records[coding]
        stored = sum(row["bytes"] for row in record["tensors"] if row["blocks"] or row["name"] == "momos.counts")
        assert report["mosaic_bytes"] == record["mosaic_bytes"] == stored
        bits = 8 * stored / 18_640
        assert report["index_bits_per_block"] == record["index_bits_per_block"] == pytest.approx(bits, rel=1e-12)
        out = run_command(capsys, monkeypatch, *words)[1]
        row = f"{stored / 1024:.1f} KiB, {bits:.2f} bits a block, entropy {report['index_entropy']:.2f}"
        assert row in " ".join(out.split())
        assert f"bits a block, {coding}" in " ".join(
            run_command(capsys, monkeypatch, "inspect", "x.momos.safetensors")[1].split()
        )
    features = {coding: set(record["features"]) for coding, record in records.items()}
    assert features["ans"] - features["packed"] == {"ans"}
    assert features["packed"] < features["ans"]
    entropy = reports["packed"]["index_entropy"]
    assert reports["ans"]["index_entropy"] == entropy
    assert entropy < reports["ans"]["index_bits_per_block"] < 1.02 * entropy < reports["packed"]["index_bits_per_block"]
    assert reports["ans"]["accuracy_after"] == pytest.approx(reports["packed"]["accuracy_after"], abs=3)


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_command(capsys, monkeypatch, "digits", *QUICK, "--quiet") == (0, "", "")


def test_a_dry_run_estimates_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run_command(capsys, monkeypatch, "digits", "--c", "0.05", *QUICK, "--dry-run", "--json")
    estimate = json.loads(out)
    assert code == 0
    assert list(Path().iterdir()) == []
    _, out, _ = run_command(capsys, monkeypatch, "digits", "--c", "0.05", *QUICK, "--json")
    assert estimate["blocks"] == json.loads(out)["blocks"]
    assert estimate["file_bytes"] == pytest.approx(json.loads(out)["file_bytes"], rel=0.1)
    assert estimate["seconds"] >= 0
    assert estimate["peak_memory_bytes"] > 2**27


def test_inspect_export_and_evaluate_work_on_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_command(capsys, monkeypatch, "digits", "--c", "0.4", *QUICK, "--quiet", "-o", "d.momos.safetensors")
    code, out, _ = run_command(capsys, monkeypatch, "inspect", "d.momos.safetensors", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["k"] == pytest.approx(0.4 * 18_628, abs=2)
    rows = {row["name"]: row for row in record["tensors"]}
    assert rows["conv1.weight"]["stored"] == "mosaic"
    assert rows["conv1.weight"]["shape"] == [16, 1, 3, 3]
    assert rows["bn1.num_batches_tracked"]["dtype"] == "int64"
    assert rows["bn1.bias"] == {**rows["bn1.bias"], "dtype": "float32", "stored": "affine8", "blocks": None}
    _, table, _ = run_command(capsys, monkeypatch, "inspect", "d.momos.safetensors")
    assert "layer3.0.bn1.num_batches_tracked" in table
    code, out, _ = run_command(
        capsys, monkeypatch, "export", "d.momos.safetensors", "-o", "dense.safetensors", "--json"
    )
    assert code == 0
    assert json.loads(out)["file_bytes"] == Path("dense.safetensors").stat().st_size
    figures = []
    for source in ("d.momos.safetensors", "dense.safetensors"):
        code, out, _ = run_command(capsys, monkeypatch, "evaluate", source, "--data", "digits", "--json")
        assert code == 0
        figures.append(json.loads(out))
    assert figures[0]["top1"] == figures[1]["top1"]
    assert figures[0]["top5"] >= figures[0]["top1"] > 90
    assert figures[0]["images"] == 450


def test_patterns_choose_tensors_and_a_useless_one_warns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("digits", "--exclude", "linear.*", "--exclude", "nothing", "--json", "--no-bdm", *QUICK)
    code, out, err = run_command(capsys, monkeypatch, *words)
    report = json.loads(out)
    assert code == 0
    assert err.startswith("warning: --exclude 'nothing' matches no tensor")
    assert err.count("\n") == 1
    assert report["left_out"]["linear.weight"] == "excluded"
    assert report["bdm_ratio_before"] is None
    assert load_file("digits.momos.safetensors")["linear.weight"].shape == (10, 64)


def test_a_bare_file_is_compressed_and_what_needs_the_network_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"w": torch.randn(64, 64, generator=torch.Generator().manual_seed(0))}, "bare.safetensors")
    code, out, _ = run_command(capsys, monkeypatch, "bare.safetensors", "--c", "0.1", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["output"] == "bare.momos.safetensors"
    assert "no architecture known: a Gaussian" in report["baseline"]
    for source in ("bare.safetensors", "bare.momos.safetensors"):
        code, _, err = run_command(capsys, monkeypatch, "evaluate", source, "--data", "digits")
        assert code == 2
        assert "--arch NAME" in err


@pytest.mark.parametrize(
    ("word", "hints"), [("inspct", ["commands: inspect"]), ("resnet5", ["models: resnet50"]), ("digit", ["digits"])]
)
def test_a_misspelt_word_gets_close_commands_and_models(
    word: str, hints: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run_command(capsys, monkeypatch, word)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: '{word}' is no timm model, file or directory")
    assert all(hint in err for hint in hints)


def test_help_and_completion_need_no_torch() -> None:
    script = "import sys; from momos_cli.app import app; app(['--help'], result_action='return_value'); "
    script += "[app([name, '--help'], result_action='return_value') for name in app if name[0] != '-']; "
    script += "app.generate_completion(shell='bash'); assert 'torch' not in sys.modules, 'torch was imported'"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("inspect", "export", "evaluate", "--dry-run", "--protocol", "--install-completion", "--save-every"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["compress", *(name for name in commands() if name != "compress")])
def test_the_help_of_a_command_shows_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.app([command, "--help"], result_action="return_value", console=Console(width=200))
    shown = capsys.readouterr().out
    for each in cli.app[command].assemble_argument_collection():
        assert re.search(rf"(?m)^│ .*{each.name}(?![\w-])", shown), each.name


def test_the_programs_own_name_and_version_work() -> None:
    done = subprocess.run([sys.executable, "-m", "momos_cli", "--version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.strip() == "0.1.0"
