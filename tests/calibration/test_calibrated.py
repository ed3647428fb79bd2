"""Whole runs that are fitted to calibration inputs, from the checkpoint to the file and back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from calibrated_runs import check_measured, network_checkpoint, run, save_pictures
from conftest import minilm_directory
from safetensors.torch import load_file, save_file
from torch import nn

from momos_compress import MomosError, MomosFile, Settings, compress, load_model, open_checkpoint
from momos_compress.calibration import made_images
from momos_compress.calibration import start as start_module
from momos_compress.compression.expected import expect
from momos_compress.planning.plan import plan
from momos_compress.sources.checkpoint import Checkpoint

WORDS = [f"word{number}" for number in range(28)]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Images


def test_calibration_keeps_the_demo_accurate_where_weights_alone_do_not(tmp_path: Path) -> None:
    checkpoint = open_checkpoint("digits")
    # The larger layers are enough to spoil the network, and half of the work.
    settings = {"k": 8, "bdm": False, "include": ("layer3*conv*",), "device": "cpu"}
    plain = compress(checkpoint, Settings(calibrate="none", **settings), "a", data="digits")  # type: ignore[arg-type]
    fitted = compress(
        checkpoint,
        Settings(calibrate="digits", samples=96, **settings),
        "b",
        data="digits",  # type: ignore[arg-type]
    )
    assert (fitted.method, fitted.calibration) == ("hessian", "96 images of digits")
    assert (plain.method, plain.calibration) == ("faiss", "none: the weights alone")
    assert plain.accuracy_before is not None
    assert plain.accuracy_after is not None
    assert fitted.accuracy_after is not None
    assert fitted.k <= 8
    assert fitted.accuracy_after > plain.accuracy_after + 0.3 * (plain.accuracy_before - plain.accuracy_after)
    assert fitted.file_bytes < 1.1 * plain.file_bytes
    assert fitted.warnings == ()
    file = check_measured(checkpoint, fitted)
    # Norms beside the mosaic are corrected, and what was not compressed stays.
    original = {
        name: checkpoint.read(name) for name in ("bn1.running_var", "layer3.0.bn1.running_mean", "conv1.weight")
    }
    assert not torch.allclose(file.get("layer3.0.bn1.running_mean"), original["layer3.0.bn1.running_mean"], atol=1e-3)
    assert torch.allclose(file.get("conv1.weight"), original["conv1.weight"], rtol=2e-3, atol=1e-4)
    assert torch.allclose(file.get("bn1.running_var"), original["bn1.running_var"], rtol=0.2)  # in a byte a value


def depthwise() -> nn.Module:
    model = timm.create_model("test_efficientnet", num_classes=5, drop_rate=0.0).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.uniform_(0.5, 1.5)
    return model


INCLUDED = ("*conv_dw.weight", "*.se.*weight", "conv_stem.weight", "classifier.*")


def test_a_depthwise_network_on_images() -> None:
    checkpoint = network_checkpoint(depthwise())
    settings = {"calibrate": save_pictures(), "samples": 6, "k": 24, "include": INCLUDED}
    report = run(checkpoint, **settings)
    file = check_measured(checkpoint, report)
    assert report.calibration == "6 images of images"
    chosen = set(file.recipe.tensors)
    assert "classifier.bias" in chosen  # as a row of its own, for --include asks for it
    assert any("conv_dw" in name for name in chosen)
    model = load_model("x.momos.safetensors")
    assert bool(torch.isfinite(model(torch.randn(1, 3, 64, 64))).all())
    assert {name for name in file if name in chosen} == chosen
    # The same seed gives the same file.
    run(checkpoint, "again.momos.safetensors", **settings)
    assert Path("again.momos.safetensors").read_bytes() == Path("x.momos.safetensors").read_bytes()


def test_what_the_user_excluded_stays_as_it_is() -> None:
    checkpoint = network_checkpoint(depthwise())
    exclude = ("*bn*", "classifier.bias", "conv_stem.weight", "*conv_pw*", "*conv_exp*", "conv_head*")
    report = run(
        checkpoint, calibrate=save_pictures(), samples=4, k=4, s=8, exclude=exclude, passthrough="keep", rate_weight=0.0
    )
    file = check_measured(checkpoint, report)
    excluded = [name for name, reason in report.left_out.items() if reason == "excluded"]
    assert {"bn1.running_mean", "classifier.bias", "conv_stem.weight"} <= set(excluded)
    for name in excluded:
        assert torch.equal(file.get(name), checkpoint.read(name)), name


def test_synthetic_images_are_the_default_of_a_trained_network_with_batch_norms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(made_images, "STEPS", 3)
    checkpoint = network_checkpoint(depthwise())
    settings = {"samples": 4, "k": 2, "include": ("classifier.weight",)}
    report = run(checkpoint, **settings)
    assert report.method == "hessian"
    assert report.calibration == "4 procedural images, trained to the statistics of batch norms"
    check_measured(checkpoint, report)
    untrained = dataclasses.replace(checkpoint, provenance={"pretrained": False})
    assert run(untrained, **settings).method == "faiss"


def test_a_network_that_runs_on_nothing_that_can_be_made_up_is_fitted_to_its_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = depthwise()
    monkeypatch.setattr(type(model), "forward", lambda self, x, other: x)
    report = run(network_checkpoint(model), calibrate="synthetic", k=4, include=("classifier.weight",))
    assert (report.method, report.calibration) == ("faiss", "none: the weights alone")
    (warning,) = (w for w in report.warnings if "weights alone" in w)
    assert warning.startswith("EfficientNet fails on a calibration batch")
    assert "'other'" in warning
    assert warning.endswith("motifs are fitted to the weights alone, which loses more")


def test_what_is_expected_where_nothing_can_be_made_up_is_for_the_weights_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = depthwise()
    monkeypatch.setattr(type(model), "forward", lambda self, x, other: x)
    checkpoint = network_checkpoint(model)
    expected = expect(checkpoint, plan(checkpoint, Settings(k=4, include=("classifier.weight",))))
    assert expected.steps is None
    assert expected.work.settings.method == "faiss"
    assert any(warning.startswith("EfficientNet fails") for warning in expected.work.selection.warnings)


def test_a_weight_that_is_not_a_number_is_named_before_anything_runs() -> None:
    model = depthwise()
    with torch.no_grad():
        model.conv_stem.weight[1, 0, 2, 1] = float("nan")
    with pytest.raises(MomosError, match=r"^conv_stem\.weight \[.*\]: nan at index \[1, 0, 2, 1\]; repair"):
        run(network_checkpoint(model), calibrate=save_pictures(), k=4)
    assert not Path("x.momos.safetensors").exists()


def test_a_network_that_fails_on_its_inputs_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = depthwise()
    checkpoint = network_checkpoint(model)
    monkeypatch.setattr(type(model), "forward", lambda self, x: torch.ones(2) @ torch.ones(3))
    with pytest.raises(MomosError, match=r"^EfficientNet fails on a calibration batch \(.*\); give inputs") as caught:
        run(checkpoint, calibrate=save_pictures(), k=4)
    assert "\n" not in str(caught.value)
    assert not Path("x.momos.safetensors").exists()


def test_damping_beyond_the_usual_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = start_module.damped

    def more(moments: torch.Tensor, s: int) -> tuple[torch.Tensor, float]:
        return real(moments, s)[0], 0.1

    monkeypatch.setattr(start_module, "damped", more)
    report = run(
        network_checkpoint(depthwise()), calibrate=save_pictures(), samples=2, k=2, include=("classifier.weight",)
    )
    assert [w for w in report.warnings if "damped" in w] == [
        "the inputs of classifier.weight are linearly dependent: damped by up to 0.1 times their mean square"
    ]


# Texts


@pytest.fixture
def language_model(work: Path) -> Path:
    """GPT-2 with two layers, random weights and a tokenizer of 30 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(["<end>", "<unknown>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>")
    config = GPT2Config(vocab_size=30, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained("gpt")
    fast.save_pretrained("gpt")
    rng = np.random.default_rng(0)
    lines = (" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(24))
    Path("texts.txt").write_text("\n".join(lines))
    return work / "gpt"


@pytest.mark.parametrize("passthrough", ["auto", "keep"])
def test_a_language_model_whose_weights_keep_inputs_first(language_model: Path, passthrough: str) -> None:
    checkpoint = open_checkpoint(str(language_model))
    report = run(checkpoint, calibrate="texts.txt", samples=16, k=48, passthrough=passthrough)
    assert report.calibration == "16 texts of texts.txt"
    file = check_measured(checkpoint, report)
    bias = "transformer.h.1.mlp.c_proj.bias"
    name = bias if bias in file else bias.removeprefix("transformer.")
    assert (file.entries[name].torch_dtype == torch.float32) == (passthrough == "keep")
    assert file.get(name).dtype == torch.float32
    assert not torch.allclose(file.get(name), checkpoint.read(name), atol=1e-3)
    assert file.recipe.tensors[name.replace("bias", "weight")].layout.transposed
    # The table is stored once, and is the output layer's as well.
    model = load_model("x.momos.safetensors")
    assert model.lm_head.weight is model.transformer.wte.weight
    table = next(name for name in file.recipe.tensors if name.endswith("wte.weight"))
    assert torch.equal(model.lm_head.weight, file.get(table))


def test_the_fit_to_texts_keeps_outputs_closer(language_model: Path) -> None:
    checkpoint = open_checkpoint(str(language_model))
    original = load_model_of(checkpoint)
    tokens = torch.randint(2, 30, (40, 12))
    gaps = []
    for calibrate in ("none", "texts.txt"):
        run(checkpoint, calibrate=calibrate, samples=16 if calibrate != "none" else None, k=24, rate_weight=0.0)
        with torch.no_grad():
            wanted, found = original(tokens).logits, load_model("x.momos.safetensors")(tokens).logits
        gaps.append(float((found - wanted).square().sum() / wanted.square().sum()))
    assert gaps[1] < 0.9 * gaps[0]


def load_model_of(checkpoint: Checkpoint) -> nn.Module:
    from momos_compress.networks.load import model_of

    return model_of(checkpoint)


def test_aliases_of_a_file_survive(language_model: Path) -> None:
    state = load_file(language_model / "model.safetensors")
    table = next(name for name in state if name.endswith("wte.weight"))
    head = {"lm_head.weight": state.pop(table)}
    save_file({**state, **head}, language_model / "model.safetensors", {"format": "pt"})
    try:
        checkpoint = open_checkpoint(str(language_model))
        load_model_of(checkpoint)
    except MomosError:
        pytest.skip("this transformers does not read a table under its other name")
    run(checkpoint, calibrate="texts.txt", samples=8, k=16)
    model = load_model("x.momos.safetensors")
    assert torch.equal(model.transformer.wte.weight, MomosFile("x.momos.safetensors").get("lm_head.weight"))


@pytest.mark.slow
def test_a_sentence_encoder_on_a_handful_of_texts() -> None:
    torch.set_num_threads(2)
    checkpoint = open_checkpoint(str(minilm_directory()))
    Path("texts.txt").write_text("\n".join(f"A sentence on the {w} of trained networks." for w in WORDS))
    report = run(checkpoint, calibrate="texts.txt", samples=16, k=256, rate_weight=1.0, include=("*layer.2.*",))
    check_measured(checkpoint, report)
    original, model = load_model_of(checkpoint), load_model("x.momos.safetensors")
    tokens = torch.randint(1000, 20000, (4, 12))
    with torch.no_grad():
        wanted, found = original(tokens).last_hidden_state, model(tokens).last_hidden_state
    assert float((found - wanted).square().sum() / wanted.square().sum()) < 0.5


@pytest.mark.slow
def test_a_whole_depthwise_network() -> None:
    torch.set_num_threads(2)
    model = timm.create_model("mobilenetv3_small_050", num_classes=10).eval()
    checkpoint = network_checkpoint(model)
    report = run(checkpoint, calibrate=save_pictures(), k=256)
    check_measured(checkpoint, report)
    assert bool(torch.isfinite(load_model("x.momos.safetensors")(torch.randn(1, 3, 32, 32))).all())
