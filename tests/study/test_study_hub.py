"""A study over a hub on the loopback interface: download, measure, drop, fail, resume."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from hub import COMMIT, LoopbackHub, environment, momos
from waiting import wait_for

from momos_compress.sources.open import hub_repository
from momos_compress.sources.timm import from_timm_name
from momos_compress.study.row_files import read_rows
from momos_compress.study.rows import Row

NAMES = ("test_vit.r160_in1k", "test_resnet.r160_in1k", "test_efficientnet.r160_in1k", "test_convnext.r160_in1k")
GONE, BROKEN, BERT = "test_byobnet.r160_in1k", "test_vit2.r160_in1k", "org/tiny-bert"
ALL = (*NAMES, GONE, BROKEN, BERT)


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """timm repositories with weights of their own, and one of transformers; the one called GONE is not among them."""
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("repositories")
    found = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        for name in (*NAMES, BROKEN):
            found[f"timm/{name}"] = root / name
            timm.models.save_for_hf(timm.create_model(name), str(root / name), safe_serialization=True)
        config = transformers.BertConfig(
            vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
        )
        found[BERT] = root / "bert"
        transformers.BertModel(config).save_pretrained(found[BERT])
    return found


def study(hub: LoopbackHub, tmp_path: Path, *words: str) -> tuple[int, str, str, dict[str, Row]]:
    more = ("--seeds", "1", "--rates", "none", "-o", "out", *words)
    done = momos("study", *more, endpoint=hub.url, home=tmp_path / "home", directory=tmp_path / "place")
    rows = {row.model: row for row in read_rows(tmp_path / "place" / "out")}
    return done.returncode, done.stdout, done.stderr, rows


def cached(tmp_path: Path) -> list[str]:
    cache = tmp_path / "place" / "out" / "cache"
    return sorted(
        path.name for path in cache.glob("models--*") if any(p.is_file() for p in path.rglob("*.safetensors"))
    )


@pytest.mark.slow
def test_download_measure_drop_and_resume(repos: dict[str, Path], tmp_path: Path) -> None:
    broken = f"timm/{BROKEN}/model.safetensors"
    with LoopbackHub(repos, truncated=[broken]) as hub:
        code, out, err, rows = study(hub, tmp_path, *ALL, "--max-cache", "0", "--workers", "2")
        assert code == 1, err
        assert {name: row.error for name, row in rows.items() if row.status == "failed"}.keys() == {GONE, BROKEN}
        assert "7 models, 2 failed" in out
        assert "the hub has no model 'timm/test_byobnet.r160_in1k'" in str(rows[GONE].error)
        assert "test_vit2" in str(rows[BROKEN].error)
        assert [line for line in err.splitlines() if not line.startswith("warning: test_")] == []
        assert cached(tmp_path) == []  # each dropped once it was measured
        assert not (tmp_path / "home" / "hub").exists()  # and nothing in the hub's own cache
        fetched = [path for path in hub.downloads if path.endswith(".safetensors")]
        assert sorted(set(fetched) - {broken}) == sorted(
            [*(f"timm/{name}/model.safetensors" for name in NAMES), f"{BERT}/model.safetensors"]
        )
        for name in (*NAMES, BERT):
            assert rows[name].revision == COMMIT
        assert (rows[NAMES[0]].family, rows[BERT].family) == ("vision_transformer", "bert")
        # The second run: nothing that is done is downloaded again, what failed is tried again.
        hub.requests.clear()
        hub.truncated = ()
        code, out, err, again = study(hub, tmp_path, *ALL, "--max-cache", "1GB")
        assert code == 1, err
        assert "7 models, 1 failed" in out
        assert [path for path in hub.downloads if path.endswith(".safetensors")] == [broken]
        assert {name: again[name] for name in (*NAMES, BERT)} == {name: rows[name] for name in (*NAMES, BERT)}
        assert again[BROKEN].status == "ok"
        assert cached(tmp_path) == [f"models--timm--{BROKEN}"]  # below the limit it may stay
        assert hub.strays == []
    # With the hub gone, the rows still stand.
    dead = momos(
        "study", *NAMES, "--seeds", "1", "--rates", "none", "-o", "out", "--json",
        endpoint="http://127.0.0.1:9", home=tmp_path / "home", directory=tmp_path / "place",
    )  # fmt: skip
    assert dead.returncode == 0, dead.stderr
    shown = json.loads(dead.stdout)["rows"]
    assert [row["model"] for row in shown] == list(NAMES)
    assert all(row["status"] == "ok" and row["sign_ratio"] for row in shown)
    # What was never downloaded is told with the reason; what the cache holds is measured.
    words = ("study", BROKEN, GONE, "digits", "--seeds", "1", "--rates", "none", "-o", "out", "--planes", "4")
    place = tmp_path / "place"
    dead = momos(*words, "--max-cache", "1GB", endpoint="http://127.0.0.1:9", home=tmp_path / "home", directory=place)
    assert dead.returncode == 1, dead.stderr
    rows = {row.model: row for row in read_rows(place / "out")}
    assert [rows[name].status for name in (BROKEN, GONE, "digits")] == ["ok", "failed", "ok"]
    assert str(rows[GONE].error).startswith("the hub at http://127.0.0.1:9 cannot be reached and timm/test_byobnet")


def test_names_of_one_repository(repos: dict[str, Path]) -> None:
    here = "timm/resnet50.a1_in1k"
    for name in ("resnet50", "resnet50.a1_in1k", here, f"{here}@main", f"hf-hub:{here}"):
        assert hub_repository(name) == here, name
    assert hub_repository("digits") is None
    assert hub_repository(str(repos[BERT])) is None
    assert hub_repository(f"local-dir:{repos[BERT]}") is None


@pytest.mark.slow
def test_revisions_of_one_repository_do_not_drop_each_others_weights(repos: dict[str, Path], tmp_path: Path) -> None:
    models = (BERT, f"{BERT}@main", f"{BERT}@{COMMIT}")
    with LoopbackHub(repos) as hub:
        code, _, err, rows = study(hub, tmp_path, *models, "--max-cache", "0", "--workers", "3")
    assert {model: row.error for model, row in rows.items()} == dict.fromkeys(models)
    assert code == 0, err
    assert len({row.complexity for row in rows.values()}) == 1
    assert cached(tmp_path) == []


@pytest.mark.slow
def test_a_kill_while_downloading_is_resumed(repos: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with LoopbackHub(repos) as hub:
        command = [sys.executable, "-m", "momos_cli", "study", *NAMES, "--seeds", "1", "--rates", "none", "-o", "out"]
        process = subprocess.Popen(
            [*command, "--max-cache", "0"], cwd=place, env=environment(hub.url, tmp_path / "home"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(lambda: len(list(place.glob("out/rows/*.json"))) >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = {row.model for row in read_rows(place / "out")}
        hub.requests.clear()
        code, _, err, rows = study(hub, tmp_path, *NAMES, "--max-cache", "0")
        assert code == 0, err
        assert all(row.status == "ok" for row in rows.values())
        assert set(rows) == set(NAMES)
        again = {path.split("/")[1] for path in hub.downloads if path.endswith(".safetensors")}
        assert again <= set(NAMES) - done
        assert cached(tmp_path) == []


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_read_straight_from_the_file(
    name: str, repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copytree(repos[f"timm/{name}"], tmp_path / "copy") / "model.safetensors"
    monkeypatch.setattr("momos_compress.sources.hub.fetch_first", lambda repo, candidates: path)
    real = timm.create_model

    def only_skeletons(*arguments: object, **options: object) -> torch.nn.Module:
        assert not options.get("pretrained")
        model = real(*arguments, **options)
        assert all(parameter.is_meta for parameter in model.parameters())
        return model

    monkeypatch.setattr(timm, "create_model", only_skeletons)
    checkpoint = from_timm_name(name, pretrained=True, seed=0)
    monkeypatch.setattr(timm, "create_model", real)
    loaded = real(name, pretrained=True, pretrained_cfg_overlay={"file": str(path)})
    own = dict(loaded.named_parameters())
    assert checkpoint.parameters == tuple(own)
    assert all(torch.equal(checkpoint.read(key), own[key]) for key in own)
    assert checkpoint.buffers == frozenset(key for key, _ in loaded.named_buffers() if key in loaded.state_dict())


def test_weights_under_other_names_go_through_timm(
    repos: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(repos["timm/test_vit.r160_in1k"] / "model.safetensors")
    path = tmp_path / "model.safetensors"
    half = {key: value.half() for key, value in state.items()}
    save_file(half, path)
    monkeypatch.setattr("momos_compress.sources.hub.fetch_first", lambda repo, candidates: path)
    checkpoint = from_timm_name("test_vit.r160_in1k", pretrained=True, seed=0)
    assert {info.dtype for info in checkpoint.tensors.infos} == {torch.float32}
    assert all(torch.equal(checkpoint.read(key), value.float()) for key, value in half.items())
