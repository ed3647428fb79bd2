"""Inputs that are made up: which kind a network gets, what they look like, and what happens where none can be made."""

import dataclasses
from pathlib import Path

import pytest
import timm
import torch
from conftest import minilm_directory
from torch import nn

from momos_compress import MomosError, open_checkpoint
from momos_compress.calibration import input_kinds, made_images
from momos_compress.calibration.input_kinds import INPUT_KINDS, InputKind, NoInputsError, make_inputs
from momos_compress.calibration.made_images import IMAGES, LEAST_IMAGES, LEAST_STEPS, STEPS, planned
from momos_compress.calibration.wanted import Wanted, affordable, batch_size
from momos_compress.common.progress import silent
from momos_compress.data import corpus
from momos_compress.data.batches import Inputs
from momos_compress.data.draws import CalibrationData
from momos_compress.networks.load import model_of

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


def wanted(model: nn.Module, **fields: object) -> Wanted:
    plain = Wanted(model.eval(), None, 4, 2, 0, "cpu", None, silent)
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


def both(data: CalibrationData) -> tuple[Inputs, Inputs]:
    assert data.held_out is not None
    return tuple(each.read(range(each.samples)) for each in (data, data.held_out))  # type: ignore[return-value]


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(vocab_size=40, max_position_embeddings=12, **SMALL))


def bert(name: str = "BertModel") -> nn.Module:
    import transformers

    model: nn.Module = getattr(transformers, name)(
        transformers.BertConfig(vocab_size=30_522, max_position_embeddings=16, **SMALL)
    )
    return model


def test_a_network_with_batch_norms_gets_images_trained_to_them() -> None:
    data = make_inputs(wanted(model_of(open_checkpoint("digits"))))
    assert data.description == "4 procedural images, trained to the statistics of batch norms"
    images, apart = both(data)
    assert isinstance(images, torch.Tensor)
    assert isinstance(apart, torch.Tensor)
    assert (images.shape, apart.shape) == ((4, 1, 8, 8), (2, 1, 8, 8))
    assert data.warnings == ()


def test_few_images_pass_at_once_where_a_network_holds_much_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, object]] = []

    def train(self: object, images: torch.Tensor, steps: int, progress: object, *, at_once: int) -> torch.Tensor:
        seen.append((len(images), at_once))
        return images

    monkeypatch.setattr(made_images.BatchNormMatch, "train", train)
    model = timm.create_model("test_efficientnet", num_classes=4)
    make_inputs(wanted(model, samples=32, held_out=0))
    monkeypatch.setattr(made_images, "TRAINED_VALUES", 1)
    make_inputs(wanted(model, samples=32, held_out=0))
    (first, many), (second, one) = seen
    assert (first, second, one) == (32, 32, 1)
    assert many > 32


def test_one_without_gets_them_as_they_are_on_its_own_scale() -> None:
    model = timm.create_model("test_vit")
    data = make_inputs(wanted(model, samples=24))
    images, _ = both(data)
    assert isinstance(images, torch.Tensor)
    assert data.description == "24 procedural images"
    config = model.pretrained_cfg
    assert images.shape[1:] == config["input_size"]
    mean, std = (torch.tensor(config[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    pixels = images * std + mean
    assert float(pixels.min()) > -1e-5
    assert float(pixels.max()) < 1 + 1e-5
    assert 0.3 < float(pixels.mean()) < 0.6


def test_a_vision_model_of_transformers_by_its_preprocessors_file(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification

    model = ViTForImageClassification(ViTConfig(image_size=32, patch_size=16, **SMALL))
    plain = make_inputs(wanted(model)).read(range(4))
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [0.25, 0.25, 0.25]}')
    scaled = make_inputs(wanted(model, source=str(tmp_path))).read(range(4))
    assert isinstance(plain, dict)
    assert isinstance(scaled, dict)
    assert scaled["pixel_values"].shape == (4, 3, 32, 32)
    torch.testing.assert_close(scaled["pixel_values"] / 4, plain["pixel_values"] / 2 + 0.5)


def test_a_language_model_with_a_tokenizer_reads_the_corpus() -> None:
    data = make_inputs(wanted(bert(), source=str(minilm_directory())))
    assert data.description == "4 texts of the corpus that ships with the package"
    assert data.warnings == ()


def test_a_decoder_without_a_tokenizer_draws_its_own_sequences() -> None:
    model = llama()
    data = make_inputs(wanted(model))
    assert data.description == "4 sequences that the network drew itself"
    (warning,) = data.warnings
    assert warning.startswith("LlamaForCausalLM reads tokens and its tokenizer is missing")
    assert warning.endswith("calibrated on 4 sequences that the network drew itself instead")
    batch, apart = both(data)
    assert isinstance(batch, dict)
    assert isinstance(apart, dict)
    tokens = batch["input_ids"]
    assert tokens.shape == (4, 12)
    assert apart["input_ids"].shape == (2, 12)
    assert len(set(tokens[:, 1].tolist())) > 1
    # The start and a random token are followed by four of the likeliest ones.
    with torch.inference_mode():
        likeliest = model(tokens).logits.argmax(dim=-1)
    assert torch.equal(tokens[:, 2:6], likeliest[:, 1:5])
    assert not torch.equal(tokens[:, 6:], likeliest[:, 5:-1])
    again = make_inputs(wanted(model)).read(range(4))
    assert isinstance(again, dict)
    assert torch.equal(again["input_ids"], tokens)


def test_a_masked_head_without_a_tokenizer_draws_random_tokens_anew() -> None:
    data = make_inputs(wanted(bert("BertForMaskedLM")))
    assert data.description == "4 sequences that the network's masked head drew from random tokens"
    assert len(data.warnings) == 1
    batch, _ = both(data)
    assert isinstance(batch, dict)
    assert batch["input_ids"].shape == (4, 16)
    assert bool(batch["attention_mask"].all())
    assert len(batch["input_ids"].unique()) > 40


def test_an_encoder_without_a_tokenizer_gets_nothing_rather_than_random_tokens() -> None:
    with pytest.raises(NoInputsError, match=r"^BertModel reads tokens and its tokenizer is missing"):
        make_inputs(wanted(bert()))


def test_a_broken_installation_is_told_and_something_else_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CORPUS", Path("nowhere"))
    data = make_inputs(wanted(bert("BertForMaskedLM"), source=str(minilm_directory())))
    (warning,) = data.warnings
    assert warning.startswith("the texts that ship with the package cannot be read")
    assert warning.endswith("calibrated on 4 sequences that the network's masked head drew from random tokens instead")


def test_speech_networks_get_noise_in_the_shape_of_their_inputs() -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2Model, WhisperConfig, WhisperForConditionalGeneration

    narrow = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    data = make_inputs(wanted(Wav2Vec2Model(Wav2Vec2Config(**SMALL, **narrow))))
    batch, apart = both(data)
    assert isinstance(batch, dict)
    assert isinstance(apart, dict)
    assert batch["input_values"].shape == (4, 32_000)
    assert apart["input_values"].shape == (2, 32_000)
    assert torch.allclose(batch["input_values"].std(dim=1), torch.ones(4), atol=1e-3)
    tiny = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(**tiny, **heads, max_source_positions=10, num_mel_bins=6, vocab_size=60_000)
    spectra = make_inputs(wanted(WhisperForConditionalGeneration(config))).read(range(2))
    assert isinstance(spectra, dict)
    assert spectra["input_features"].shape == (2, 6, 20)
    assert spectra["decoder_input_ids"].shape == (2, 16)


class Two(nn.Module):
    """A network that wants more than it is known to take."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return pixel_values + other


def test_a_network_that_wants_what_nobody_named() -> None:
    with pytest.raises(NoInputsError, match=r"^Two fails on a calibration batch \(.*'other'"):
        make_inputs(wanted(Two()))
    with pytest.raises(NoInputsError, match=r"^nothing is known to run Linear on$"):
        make_inputs(wanted(nn.Linear(2, 2)))


def test_another_kind_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = CalibrationData("2 pairs", 2, (), lambda at: torch.zeros(len(at), 2))
    mine = InputKind(lambda wanted: isinstance(wanted.model, nn.Linear), lambda wanted: pairs)
    monkeypatch.setattr(input_kinds, "INPUT_KINDS", INPUT_KINDS | {"pairs": mine})
    assert make_inputs(wanted(nn.Linear(2, 2))).description == "2 pairs"


def test_steps_give_way_before_images_and_both_follow_the_time() -> None:
    assert planned(float("inf"), None, 0) == (IMAGES, 0, STEPS)
    assert planned(IMAGES * LEAST_STEPS, None, 0) == (IMAGES, 0, LEAST_STEPS)
    assert planned(64 * LEAST_STEPS, None, 0) == (64, 0, LEAST_STEPS)
    assert planned(0, None, 0) == (LEAST_IMAGES, 0, 0)
    assert planned(100, 50, 10) == (50, 10, 1)
    for image_steps in (1, 100, 1000, 10_000):
        count, apart, steps = planned(image_steps, None, 512)
        assert count >= LEAST_IMAGES
        assert 0 < apart <= count // 2
        assert steps * (count + apart) <= image_steps


def test_what_is_held_out_shares_the_batches_of_the_others() -> None:
    assert [batch_size(192, apart, 64) for apart in (0, 16, 96)] == [64, 70, 96]
    assert [batch_size(count, 0, 64) for count in (1, 32, 65)] == [1, 32, 33]
    assert batch_size(4, 2, 64) == 6


def test_a_trial_has_as_many_inputs_and_leaves_out_what_takes_long() -> None:
    model = model_of(open_checkpoint("digits"))
    data = make_inputs(wanted(model, samples=24, seconds=1e6))
    rough = make_inputs(wanted(model, samples=24, seconds=1e6, trial=True))
    assert (data.samples, data.left_out_seconds) == (rough.samples, 0.0)
    assert rough.read([0]).shape == data.read([0]).shape  # type: ignore[union-attr]
    assert rough.description == f"{rough.samples} procedural images"
    assert 0 < rough.left_out_seconds < 1000
    decoder = llama()
    drawn = make_inputs(wanted(decoder, samples=70, seconds=1e6))
    copied = make_inputs(wanted(decoder, samples=70, seconds=1e6, trial=True))
    (tokens, apart), (rough_tokens, rough_apart) = both(drawn), both(copied)
    assert isinstance(tokens, dict)
    assert isinstance(rough_tokens, dict)
    assert rough_tokens["input_ids"].shape == tokens["input_ids"].shape
    assert torch.equal(rough_tokens["input_ids"][:24], tokens["input_ids"][:24])  # the batch that was drawn
    assert torch.equal(rough_tokens["input_ids"][24:48], tokens["input_ids"][:24])
    assert apart["input_ids"].shape == rough_apart["input_ids"].shape  # type: ignore[index]
    assert drawn.left_out_seconds == 0 < copied.left_out_seconds


def test_work_is_timed_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def work() -> None:
        done.append(1)

    assert affordable(None, lambda: 1 / 0) == float("inf")
    monkeypatch.setattr("momos_compress.calibration.wanted.stopwatch", lambda: lambda: 0.02)
    assert affordable(0.5, work) == pytest.approx(23)  # the two that were timed are part of the time
    assert len(done) == 2
    assert affordable(0.03, work) == 0


def test_no_time_is_enough_for_a_few() -> None:
    data = make_inputs(wanted(model_of(open_checkpoint("digits")), samples=None, seconds=0.0))
    assert data.description == f"{LEAST_IMAGES} procedural images"
    data = make_inputs(wanted(llama(), samples=100, seconds=0.0))
    assert 0 < data.samples < 100
    with pytest.raises(MomosError, match="at least 1 sample, not -1"):
        INPUT_KINDS["texts"].make(wanted(bert(), samples=-1, source=str(minilm_directory())))
