"""What a compression tells of its file's outputs: in the report, in the file and on the command line alike."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import run_command

from momos_compress import MomosFile, Settings, compress, load_model, open_checkpoint
from momos_compress.calibration.apart import inputs_with_some_apart
from momos_compress.common.progress import silent
from momos_compress.data.draws import CalibrationData
from momos_compress.networks.fidelity import recorded_fidelity
from momos_compress.networks.load import model_of
from momos_compress.planning.plan import plan

ONE = {"k": 4, "include": ("linear.weight",), "calibrate": "digits", "samples": 20, "bdm": False}
"""Little work: the last weight of the demo."""


@pytest.fixture(autouse=True)
def _in_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def held_out(source: str, settings: Settings) -> tuple[Any, CalibrationData]:
    """The original, and what a compression of it holds out."""
    checkpoint = open_checkpoint(source)
    model = model_of(checkpoint)
    data = inputs_with_some_apart(checkpoint, plan(checkpoint, settings), model, tell=silent).held_out
    assert data is not None
    return model, data


def test_a_classifier_tells_the_same_everywhere() -> None:
    settings = Settings(**ONE)  # type: ignore[arg-type]
    report = compress(open_checkpoint("digits"), settings, "x.momos.safetensors")
    found = report.fidelity
    assert found is not None
    model, data = held_out("digits", settings)
    images = data.read(range(data.samples))
    with torch.inference_mode():
        one, other = (network(images).double() for network in (model, load_model("x.momos.safetensors")))
    p, q = one.log_softmax(1), other.log_softmax(1)
    assert found.agreement == pytest.approx(float((one.argmax(1) == other.argmax(1)).double().mean()))
    assert found.kl == pytest.approx(float((p.exp() * (p - q)).sum(1).mean()), rel=1e-4)
    assert found.kl > 1e-4
    assert (found.samples, found.held_out) == (64, True)
    assert found.measured_on == "64 held-out images of digits"
    assert report.to_json()["fidelity"] == found.to_json()
    recorded = recorded_fidelity(MomosFile("x.momos.safetensors").recipe.extra["fidelity"])
    assert recorded is not None
    assert recorded.to_recipe() == found.to_recipe()
    assert list(Path().iterdir()) == [Path("x.momos.safetensors")]


def test_two_runs_give_one_file() -> None:
    for name in "ab":
        compress(open_checkpoint("digits"), Settings(**ONE), f"{name}.safetensors")  # type: ignore[arg-type]
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_where_all_samples_are_calibrated_on_the_report_says_so() -> None:
    report = compress(open_checkpoint("digits"), Settings(**{**ONE, "samples": 450}), "x.safetensors")  # type: ignore[arg-type]
    found = report.fidelity
    assert found is not None
    assert (found.held_out, found.samples) == (False, 64)
    assert found.measured_on == "64 of 450 images of digits that it was calibrated on: none were held out"


def test_weights_alone_are_not_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("digits", "--k", "4", "--calibrate", "none", "--no-bdm", "-o", "x.safetensors")
    _, table, _ = run_command(capsys, monkeypatch, *words)
    assert " ".join(table.split()).count("outputs not measured: no network was run") == 1
    assert json.loads(run_command(capsys, monkeypatch, *words, "--json")[1])["fidelity"] is None
    assert "fidelity" not in MomosFile("x.safetensors").recipe.extra
    _, table, _ = run_command(capsys, monkeypatch, "inspect", "x.safetensors")
    assert "not measured when it was written" in table


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("digits", "--k", "4", "--include", "linear.weight", "--calibrate", "digits", "--samples", "20", "--no-bdm")
    code, table, _ = run_command(capsys, monkeypatch, *words, "-o", "x.safetensors")
    assert code == 0
    (line,) = (line for line in table.splitlines() if line.startswith("outputs"))
    record = json.loads(run_command(capsys, monkeypatch, *words, "-o", "x.safetensors", "--json")[1])["fidelity"]
    assert f"agreement of top-1 {100 * record['agreement']:.2f} %" in line
    assert f"KL divergence {record['kl']:.4g} nats" in line
    assert line.rstrip().endswith(", on 64 held-out images of digits")

    _, table, _ = run_command(capsys, monkeypatch, "inspect", "x.safetensors")
    assert " ".join(line.split()) in " ".join(table.split())
    against = ("inspect", "x.safetensors", "--against", "digits", "--data", "digits", "--samples", "450")
    found = json.loads(run_command(capsys, monkeypatch, *against, "--json")[1])
    assert found["fidelity"]["agreement"] == pytest.approx(record["agreement"], rel=1e-5)
    assert set(found["against"]["fidelity"]) == set(record)
    assert found["against"]["fidelity"]["samples"] == 450
    assert found["against"]["fidelity"]["kl"] == pytest.approx(record["kl"], rel=0.5)
    _, table, _ = run_command(capsys, monkeypatch, *against)
    (line,) = (line for line in table.splitlines() if line.startswith("outputs against digits"))
    assert "agreement of top-1" in line
    assert line.rstrip().endswith(", on 450 images of digits")


def test_a_sweep_has_the_same_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("sweep", "digits", "--c", "0.05", "--s", "4", "--include", "linear.weight", "--calibrate", "digits")
    _, out, _ = run_command(capsys, monkeypatch, *words, "--samples", "20", "--json")
    (row,) = json.loads(out)["rows"]
    assert row["measured"] == f"agreement of top-1 with the original's on {row['measured_on']}"
    assert row["measured_on"] == "150 held-out images of digits"
    assert row["drop"] == pytest.approx(100 * (1 - row["agreement"]))
    assert row["kl"] > 0
    assert (row["mean_cosine"], row["perplexity"], row["original_perplexity"]) == (None, None, None)
    _, table, _ = run_command(capsys, monkeypatch, *words, "--samples", "20")
    assert " ".join(table.splitlines()[0].split()) == "c s rate weight k bytes ratio left agreement kl time"
    assert "outputs compared on 150 held-out images of digits" in table


# transformers


def save_model(name: str, **config: Any) -> str:
    """A model with random weights and a tokenizer of a few words beside it."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    kind = getattr(transformers, name).config_class
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = getattr(transformers, name)(kind(vocab_size=30, max_position_embeddings=16, **sizes, **config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter *= 10  # outputs that depend on the inputs
    model.save_pretrained(name)
    words = {word: number for number, word in enumerate(["[UNK]", *map(str, range(29))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[UNK]"
    ).save_pretrained(name)
    return name


def save_texts(count: int) -> str:
    draw = random.Random(0)
    lines = [" ".join(str(draw.randrange(29)) for _ in range(draw.randrange(3, 12))) for _ in range(count)]
    Path("texts.txt").write_text("\n".join(lines) + "\n")
    return "texts.txt"


def test_a_language_model_tells_perplexities() -> None:
    source, settings = save_model("LlamaForCausalLM"), Settings(k=16, calibrate=save_texts(50), bdm=False)
    found = compress(open_checkpoint(source), settings, "x.safetensors").fidelity
    assert found is not None
    model, data = held_out(source, settings)
    assert data.samples == found.samples == 10  # a fifth of what is there
    surprise, kl, alike = [0.0, 0.0], 0.0, 0
    tokens = places = 0
    compressed = load_model("x.safetensors")
    for number in range(data.samples):
        ids = data.read([number])["input_ids"]  # type: ignore[call-overload]
        with torch.inference_mode():
            p, q = (network(ids).logits[0].double().log_softmax(1) for network in (model, compressed))
        for network, logs in enumerate((p, q)):
            surprise[network] -= float(logs[:-1].gather(1, ids[0, 1:, None]).sum())
        kl += float((p.exp() * (p - q)).sum())
        alike += int((p.argmax(1) == q.argmax(1)).sum())
        tokens, places = tokens + ids.shape[1], places + ids.shape[1] - 1
    assert (found.kind, found.tokens, found.held_out) == ("tokens", tokens, True)
    assert found.original_perplexity == pytest.approx(float(torch.tensor(surprise[0] / places).exp()), rel=1e-4)
    assert found.perplexity == pytest.approx(float(torch.tensor(surprise[1] / places).exp()), rel=1e-4)
    assert found.kl == pytest.approx(kl / tokens, rel=1e-3)
    assert found.agreement == pytest.approx(alike / tokens)
    assert 0 < found.agreement < 1
    assert found.measured_on == "10 held-out texts of texts.txt"


def test_an_encoder_tells_the_mean_cosine() -> None:
    source, settings = save_model("BertModel"), Settings(k=16, calibrate=save_texts(50), bdm=False)
    found = compress(open_checkpoint(source), settings, "x.safetensors").fidelity
    assert found is not None
    model, data = held_out(source, settings)
    compressed, cosines = load_model("x.safetensors"), []
    for number in range(data.samples):
        batch = data.read([number])
        with torch.inference_mode():
            one, other = (network(**batch).last_hidden_state[0].double() for network in (model, compressed))
        cosines += ((one * other).sum(1) / one.norm(dim=1) / other.norm(dim=1)).tolist()
    assert (found.kind, found.tokens, found.agreement, found.perplexity) == ("vectors", len(cosines), None, None)
    assert found.mean_cosine == pytest.approx(sum(cosines) / len(cosines), rel=1e-5)
    assert found.drop == pytest.approx(100 * (1 - found.mean_cosine))
    assert 0.2 < found.mean_cosine < 0.9999


def test_one_image_to_calibrate_on_is_enough_for_a_file() -> None:
    from PIL import Image

    Path("one").mkdir()
    Image.new("RGB", (50, 20), (9, 99, 9)).save("one/a.png")
    report = compress(open_checkpoint("digits"), Settings(bits=3, bdm=False, calibrate="one"), "x.safetensors")
    assert report.calibration == "1 image of one"
    assert report.ratio > 8
