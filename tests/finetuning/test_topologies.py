"""Sparse topologies that are fixed before training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_command

from momos_compress import MomosError, MomosFile
from momos_compress.finetuning.settings import FinetuneSettings
from momos_compress.finetuning.topologies import masks, pattern
from momos_compress.measures.topology import layer_topology


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["random", "regular", "banded"])
@pytest.mark.parametrize(("rows", "columns"), [(64, 16), (16, 64), (10, 64), (7, 3), (1, 1)])
@pytest.mark.parametrize("density", [0.001, 0.1, 0.5, 1.0])
def test_a_pattern_has_its_density_and_no_dead_row(kind: str, rows: int, columns: int, density: float) -> None:
    edges = pattern(kind, rows, columns, density, np.random.default_rng(3))
    assert edges.shape == (rows, columns)
    assert (edges.sum(axis=1) >= 1).all()
    again = pattern(kind, rows, columns, density, np.random.default_rng(3))
    assert (edges == again).all()
    if kind == "random":
        assert edges.sum() == max(rows, round(density * rows * columns))
        return
    degree = min(columns, max(1, round(density * columns)))
    assert (edges.sum(axis=1) == degree).all()
    if kind == "regular":
        of_columns = edges.sum(axis=0)
        assert of_columns.max() - of_columns.min() <= 1
    else:
        for row in edges:  # one run of neighbours, seen around the end
            assert np.count_nonzero(row & ~np.roll(row, 1)) == (0 if degree == columns else 1)


def test_a_band_follows_the_diagonal_and_a_random_graph_mixes_better() -> None:
    band = pattern("banded", 64, 64, 0.1, np.random.default_rng(0))
    assert all(band[i, i] for i in range(64))
    gaps = {}
    for kind in ("random", "regular", "banded"):
        edges = pattern(kind, 64, 64, 0.1, np.random.default_rng(0))
        found = layer_topology(torch.from_numpy(edges).float())
        assert found.relative_spectral_gap is not None
        gaps[kind] = found.relative_spectral_gap
    assert gaps["banded"] < 0.1 < gaps["regular"]


def test_masks_are_of_whole_blocks_and_name_what_they_leave() -> None:
    shapes = {"a": torch.Size([8, 16]), "b": torch.Size([4, 3, 2, 2]), "c": torch.Size([5, 7])}
    found, dense = masks(shapes, "random", 0.25, 4, seed=0)
    assert dense == ("c",)
    assert found["b"].shape == (4, 3, 2, 2)
    for mask in found.values():
        blocks = mask.reshape(-1, 4)
        assert bool((blocks.all(dim=1) | ~blocks.any(dim=1)).all())
    assert float(found["a"].float().mean()) == 0.25
    other, _ = masks(shapes, "random", 0.25, 4, seed=1)
    assert not torch.equal(found["a"], other["a"])
    with pytest.raises(MomosError, match="no weight has rows of whole blocks of s = 5"):
        masks({"a": torch.Size([8, 16])}, "random", 0.25, 5, seed=0)


@pytest.mark.parametrize("kind", ["random", "banded"])
def test_blocks_outside_it_stay_at_zero_through_training_and_in_the_file(
    kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["finetune", "digits", "--mode", "paper", "--c", "1", "--epochs", "5", "--optimiser", "adamw"]
    words += ["--learning-rate", "3e-3", "--topology", kind, "--density", "0.3"]
    code, out, err = run_command(capsys, monkeypatch, *words, "-o", "run", "--json")
    assert code == 0, err
    record = json.loads(Path("run/run.json").read_text())["topology"]
    assert record["dense"] == ["conv1.weight"]  # nine values a row
    layers = {layer["name"]: layer for layer in record["layers"]}
    assert all(layer["spectral_gap"] is not None for layer in layers.values())
    file, found = MomosFile("run/model.momos.safetensors"), json.loads(out)
    for name, layer in layers.items():
        weight = file.get(name)
        zero = ~weight.reshape(-1, 4).any(dim=1)
        assert float(zero.float().mean()) == pytest.approx(1 - layer["density"], abs=1e-6)
        assert layer["density"] == pytest.approx(0.3, abs=0.06)
    code, out, _ = run_command(capsys, monkeypatch, "topology", "run/model.momos.safetensors", "--json")
    measured = {layer["name"]: layer for layer in json.loads(out)["layers"]}
    for name, layer in layers.items():
        assert measured[name]["spectral_gap"] == pytest.approx(layer["spectral_gap"], rel=1e-5, abs=1e-6)
    assert found["validation"]["after"]["top1"] > 30


def test_what_does_not_go_together() -> None:
    for settings, words in (
        (FinetuneSettings(topology="random"), "it goes with `mode='paper'`"),
        (FinetuneSettings(topology="star", mode="paper"), "unknown `topology` 'star'"),
        (FinetuneSettings(topology="random", mode="paper", density=0.0), "`density` must lie in"),
    ):
        with pytest.raises(MomosError, match=words):
            settings.resolved()
