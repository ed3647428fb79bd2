"""The command line against a hub on the loopback interface, through the real hub client."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hub import COMMIT, LoopbackHub, momos, sha256
from torch import nn

import momos_compress

BERT, SHARDED, TIMM = "org/tiny-bert", "org/sharded-bert", "timm/test_vit.r160_in1k"
TIMM_NAME = TIMM.removeprefix("timm/")
SOURCES = (TIMM_NAME, f"hf-hub:{TIMM}", TIMM, f"{TIMM}@{COMMIT}", BERT, SHARDED)
TIMM_SOURCES = SOURCES[:4]
UNREACHABLE = "http://127.0.0.1:9"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("repositories")
    directories = {name: root / name.replace("/", "--") for name in (TIMM, BERT, SHARDED)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        vit = timm.create_model(TIMM_NAME)
        config = transformers.BertConfig(
            vocab_size=100,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=64,
        )
        bert = transformers.BertModel(config)
    timm.models.save_for_hf(vit, str(directories[TIMM]), safe_serialization=True)
    bert.save_pretrained(directories[BERT])
    bert.save_pretrained(directories[SHARDED], max_shard_size="40KB")
    assert len(list(directories[SHARDED].glob("*.safetensors"))) > 1
    return directories


@dataclass(frozen=True)
class Compressed:
    """What one run made, after which its hub has gone."""

    source: str
    repo: str
    directory: Path
    home: Path
    output: Path
    report: dict[str, Any]
    stderr: str
    hub: LoopbackHub


@pytest.fixture(scope="module", params=SOURCES)
def compressed(
    request: pytest.FixtureRequest, repos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Compressed:
    source: str = request.param
    repo = TIMM if source in TIMM_SOURCES else source
    c = "0.05" if repo == TIMM else "0.5"
    home, place = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("place")
    with LoopbackHub(repos) as hub:
        done = momos(
            source, "--c", c, "--calibrate", "none", "--json", "-o", "out",
            endpoint=hub.url, home=home, directory=place,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Compressed(source, repo, repos[repo], home, place / "out", json.loads(done.stdout), done.stderr, hub)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No name is looked up and no connection is opened in this process."""
    asked: list[object] = []

    def refuse(*arguments: object, **named: object) -> object:
        asked.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
    assert asked == []


def test_the_report_tells_commit_and_digest_of_what_was_fetched(compressed: Compressed) -> None:
    report, provenance = compressed.report, compressed.report["provenance"]
    assert provenance["source"] == report["source"] == compressed.source
    assert provenance["id"].partition("@")[0] == compressed.repo
    assert provenance["revision"] == COMMIT
    assert provenance["pretrained"] is True
    weights = sorted(compressed.directory.glob("*.safetensors"))
    assert provenance["files"] == [
        {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path.read_bytes())} for path in weights
    ]
    assert report["source_bytes"] == sum(path.stat().st_size for path in weights)
    for bits, ratio in (("bdm_before", "bdm_ratio_before"), ("bdm_after", "bdm_ratio_after")):
        assert report[ratio] == pytest.approx(report[bits] / report["bdm_baseline"])
        assert report[ratio] == pytest.approx(1, abs=0.05)  # the weights are random
    assert report["file_bytes"] == compressed.output.stat().st_size
    assert momos_compress.open_file(compressed.output).recipe.extra["source"] == provenance


def test_each_file_is_fetched_once_and_only_from_the_hub(compressed: Compressed) -> None:
    wanted = {path.name for path in compressed.directory.iterdir()}
    if compressed.source == TIMM_NAME:
        wanted.remove("config.json")  # timm knows the architecture by its name
    assert sorted(compressed.hub.downloads) == sorted(f"{compressed.repo}/{name}" for name in wanted)
    assert compressed.hub.strays == []


def test_nothing_but_the_report_is_written(compressed: Compressed) -> None:
    assert compressed.stderr == ""
    assert [path.name for path in compressed.output.parent.iterdir()] == ["out"]


@pytest.mark.usefixtures("no_network")
def test_the_file_gives_back_the_network(compressed: Compressed) -> None:
    model = momos_compress.load_model(compressed.output)
    assert not model.training
    if compressed.repo == TIMM:
        images = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
        reference = timm.create_model(TIMM_NAME).eval()
        reference.load_state_dict(momos_compress.load_file(compressed.output))
        assert type(model) is type(reference)
        assert parameter_shapes(model) == parameter_shapes(reference)
        with torch.inference_mode():
            torch.testing.assert_close(model(images), reference(images))
    else:
        import transformers

        original = transformers.BertModel.from_pretrained(compressed.directory)
        assert type(model) is transformers.BertModel
        tokens = torch.arange(100).reshape(2, 50)
        with torch.inference_mode():
            before, after = (m(tokens).last_hidden_state.flatten() for m in (original, model))
        # Measured 0.994 for c = 0.5 and other seeds; 0.974 for c = 0.1.
        assert nn.functional.cosine_similarity(before, after, dim=0) > 0.99


def parameter_shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Name and shape of each parameter."""
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def test_a_filled_cache_is_enough_offline(compressed: Compressed, tmp_path: Path) -> None:
    c = str(compressed.report["c"])
    done = momos(
        compressed.source, "--c", c, "--calibrate", "none", "--json", "-o", "again",
        endpoint=compressed.hub.url, home=compressed.home, directory=tmp_path, HF_HUB_OFFLINE="1",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    for key in ("provenance", "blocks", "k", "file_bytes", "bdm_before", "bdm_baseline"):
        assert report[key] == compressed.report[key]


def test_random_weights_of_a_repository_take_its_shapes_and_none_of_its_weights(
    repos: dict[str, Path], tmp_path: Path
) -> None:
    with LoopbackHub(repos) as hub:
        done = momos(
            TIMM, "--no-pretrained", "--json", "-o", "out",
            endpoint=hub.url, home=tmp_path / "home", directory=tmp_path / "place",
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert hub.downloads == [f"{TIMM}/config.json"]
    assert report["provenance"]["pretrained"] is False
    assert report["parameters"] == sum(parameter.numel() for parameter in timm.create_model(TIMM_NAME).parameters())


def one_line_of_error(done: subprocess.CompletedProcess[str], directory: Path) -> str:
    """The message of a run that failed as it should: exit code 2, one line, nothing left behind."""
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("\n")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert list(directory.iterdir()) == []
    return done.stderr.removeprefix("error: ").rstrip()


@pytest.fixture(scope="module")
def faulty(repos: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    root = tmp_path_factory.mktemp("faulty")

    def variant(name: str, source: str = BERT, without: str = "", **texts: str) -> Path:
        shutil.copytree(repos[source], root / name, ignore=shutil.ignore_patterns(without))
        for file, text in texts.items():
            (root / name / {"index": INDEX, "config": "config.json"}[file]).write_text(text)
        return root / name

    config = json.loads((repos[BERT] / "config.json").read_text())
    served = {
        **dict.fromkeys((BERT, "org/gated", "org/truncated", "org/short", "org/dead", "org/dropped"), repos[BERT]),
        "org/no-config": variant("no-config", without="config.json"),
        "org/no-weights": variant("no-weights", without="*.safetensors"),
        "org/list-config": variant("list-config", config="[]"),
        "org/bad-config": variant("bad-config", config=json.dumps({**config, "hidden_size": "many"})),
        "org/list-index": variant("list-index", SHARDED, index='{"weight_map": ["model.safetensors"]}'),
        "org/number-index": variant("number-index", SHARDED, index='{"weight_map": {"a": 1}}'),
        "org/outside-index": variant("outside-index", SHARDED, index='{"weight_map": {"a": "../../x.safetensors"}}'),
        "org/lost-shard": variant("lost-shard", SHARDED, without="model-00002-*"),
    }
    with LoopbackHub(
        served,
        truncated=["org/truncated/model.safetensors"],
        short=["org/short/model.safetensors"],
        dead=["org/dead/config.json", "org/dropped/model.safetensors"],
        gated=["org/gated"],
    ) as hub:
        yield hub


FAULTS = {
    "org/absent": ["'org/absent'", "hf auth login"],
    "hf-hub:absent": ["'absent'"],
    "org/gated": ["org/gated is gated", "hf auth login"],
    f"{BERT}@nope": [BERT, "no revision 'nope'"],
    "org/a name": ["'org/a name'", "org/name@revision"],
    "org/no-config": ["org/no-config has no config.json"],
    "org/list-config": ["config.json", "not a JSON object"],
    "org/bad-config": ["hidden_size"],
    "org/no-weights": ["org/no-weights holds none of model.safetensors"],
    "org/list-index": [INDEX, "weight_map"],
    "org/number-index": [INDEX],
    "org/outside-index": ["x.safetensors"],
    "org/lost-shard": ["org/lost-shard", "model-00002-of-00003.safetensors"],
    "org/truncated": ["fetching org/truncated/model.safetensors failed"],
    "org/short": ["fetching org/short/model.safetensors failed"],
    "org/dead": ["org/dead/config.json"],
    "org/dropped": ["org/dropped/model.safetensors"],
}
"""What is asked for, and what the message has to name."""


AMONG_THE_FAST = {"org/absent", f"{BERT}@nope", "org/no-config", "org/outside-index"}
"""The others start the program once each as well, and run with the slow tests."""


@pytest.mark.parametrize(
    "source", [s if s in AMONG_THE_FAST else pytest.param(s, marks=pytest.mark.slow) for s in FAULTS]
)
def test_a_faulty_repository_is_one_line(faulty: LoopbackHub, source: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    done = momos(source, "--json", "-o", "out", endpoint=faulty.url, home=tmp_path / "home", directory=place)
    message = one_line_of_error(done, place)
    for part in FAULTS[source]:
        assert part in message
    assert "cannot be reached" not in message
    assert faulty.strays == []


@pytest.mark.parametrize("source", [TIMM_NAME, BERT])
def test_offline_with_an_empty_cache_names_the_ways_out(source: str, tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "place"
    done = momos(source, "-o", "out", endpoint=UNREACHABLE, home=home, directory=place, HF_HUB_OFFLINE="1")
    message = one_line_of_error(done, place)
    for part in ("HF_HUB_OFFLINE", "--checkpoint", str(home / "hub")):
        assert part in message


def test_an_endpoint_that_is_no_hub_is_said_to_be_none(faulty: LoopbackHub, tmp_path: Path) -> None:
    home, place, endpoint = tmp_path / "home", tmp_path / "place", f"{faulty.url}/elsewhere"
    message = one_line_of_error(momos(BERT, "-o", "out", endpoint=endpoint, home=home, directory=place), place)
    assert endpoint in message
    assert "cannot be reached" not in message


def test_an_endpoint_without_a_scheme_is_one_line(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "place"
    done = momos(BERT, "-o", "out", endpoint="127.0.0.1:9", home=home, directory=place, http_proxy="", https_proxy="")
    assert f"{BERT}/config.json" in one_line_of_error(done, place)


@pytest.mark.slow  # the client retries for about 23 s
def test_an_unreachable_hub_is_one_line(tmp_path: Path) -> None:
    home, place = tmp_path / "home", tmp_path / "place"
    message = one_line_of_error(momos(BERT, "-o", "out", endpoint=UNREACHABLE, home=home, directory=place), place)
    for part in (UNREACHABLE, "cannot be reached", "--checkpoint", str(home / "hub")):
        assert part in message
