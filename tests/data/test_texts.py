"""Texts as tokens."""

import inspect
from collections.abc import Callable
from pathlib import Path

import calibration_fixtures
import pytest
import torch
from calibration_inputs import (
    EXPECTED_TEXTS,
    directory,
    one_image,
    raw,
    save_images,
    saved_tensor,
    text,
    word_tokenizer,
)
from conftest import minilm_directory
from torch import nn

from momos_compress import MomosError
from momos_compress.data.draws import open_calibration

work, language_model = calibration_fixtures.work, calibration_fixtures.language_model


def test_tokens_are_the_tokenizers_own_padded_on_the_right(language_model: nn.Module) -> None:
    from transformers import AutoTokenizer

    source = str(minilm_directory())
    tokenizer = AutoTokenizer.from_pretrained(source)
    Path("x.txt").write_text("short\nsomewhat longer\n" + "word " * 100_000 + "\n")
    (batch,) = open_calibration("x.txt", language_model, seed=0, source=source).batches(3)
    assert isinstance(batch, dict)
    order = batch["attention_mask"].sum(1).argsort()
    texts = ["short", "somewhat longer", "word " * 300]
    expected = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    assert set(batch) == set(expected)
    assert all(torch.equal(batch[name][order], expected[name]) for name in batch)
    with torch.inference_mode():
        assert language_model(**batch).last_hidden_state.shape == (3, 256, 8)


def test_a_causal_model_without_a_padding_token_is_padded_with_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=7, n_positions=4, n_embd=8, n_layer=1, n_head=1, bos_token_id=6, eos_token_id=6)
    ).eval()
    source = str(word_tokenizer("tokenizer", eos_token="[END]"))
    Path("x.txt").write_text("a b c\nd\na b c d e a b\n")
    calibration = open_calibration("x.txt", model, seed=0, source=source)
    (batch,) = calibration.batches(3)
    assert isinstance(batch, dict)
    by_length = sorted(zip(batch["attention_mask"].tolist(), batch["input_ids"].tolist(), strict=True))
    assert by_length == [
        ([1, 0, 0, 0], [4, 6, 6, 6]),
        ([1, 1, 1, 0], [1, 2, 3, 6]),
        ([1, 1, 1, 1], [1, 2, 3, 4]),  # the model has no more than four positions
    ]
    parameters = inspect.signature(model.forward).parameters
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids"} & set(parameters) & set(batch)
    with torch.inference_mode():
        padded = model(**batch).logits
        singles = [model(**single).logits for single in calibration.batches(1)]  # type: ignore[arg-type]
    # What padding adds changes nothing of the rest.
    for row, single in zip(padded, singles, strict=True):
        torch.testing.assert_close(row[: single.shape[1]], single[0])
    assert capfd.readouterr().err == ""


def test_a_decoder_beside_an_encoder_is_given_tokens_too() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=7, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1, decoder_start_token_id=0)
    source = str(word_tokenizer("tokenizer", pad_token="[END]"))
    Path("x.txt").write_text("a b c\n")
    (batch,) = open_calibration("x.txt", T5ForConditionalGeneration(config), seed=0, source=source).batches(1)
    assert isinstance(batch, dict)
    assert batch["decoder_input_ids"].tolist() == [[0, 1, 2]]
    with torch.inference_mode():
        assert T5ForConditionalGeneration(config).eval()(**batch).logits.shape == (1, 3, 7)


def test_texts_that_the_tokenizer_does_not_know_are_skipped() -> None:
    from transformers import GPT2Config, GPT2Model

    model = GPT2Model(GPT2Config(vocab_size=7, n_embd=8, n_layer=1, n_head=1))
    source = str(word_tokenizer("tokenizer", eos_token="[END]"))
    Path("x.txt").write_text("a\nb\nwhat is this\n")
    calibration = open_calibration("x.txt", model, seed=0, source=source)
    assert calibration.samples == 2
    assert calibration.warnings[0] == "1 text of x.txt could not be read and was skipped"
    Path("x.txt").write_text("a\nnor this\nwhat is this\n")
    with pytest.raises(MomosError, match=r"x\.txt: 2 of the 3 texts tried .* the tokenizer knows nothing of '"):
        open_calibration("x.txt", model, seed=0, source=source)


def test_the_tokenizer_of_another_model() -> None:
    from transformers import GPT2Config, GPT2Model

    Path("x.txt").write_text("a b\n")
    model = GPT2Model(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1))
    with pytest.raises(MomosError, match=r"gives token [\d,]+ and GPT2Model knows 50: it is another model's; copy"):
        open_calibration("x.txt", model, seed=0, source=str(minilm_directory()))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: "gone", f"no text file or data set directory 'gone'; {EXPECTED_TEXTS}"),
        (lambda: "digits", f"digits holds images, and BertModel takes texts; {EXPECTED_TEXTS}"),
        (directory("empty"), f"empty: holds no texts, which BertModel takes; {EXPECTED_TEXTS}"),
        (
            lambda: str(save_images("images")),
            r"images: holds more images \(12\) than files of texts \(0\), which BertModel",
        ),
        (
            lambda: str(save_images(text("set/classes.txt")()[:3])),
            r"set: holds more images \(12\) than files of texts \(1\)",
        ),
        (one_image, f"one.png: not a text file; {EXPECTED_TEXTS}"),
        (saved_tensor("x.npy"), f"x.npy: not a text file; {EXPECTED_TEXTS}"),
        (saved_tensor("x.pt"), "x.pt: not a text file"),
        (raw("latin.txt", "häßlich".encode("latin-1")), f"latin.txt: not text in UTF-8 .*{EXPECTED_TEXTS}"),
        (raw("wide.txt", "words".encode("utf-16")), "wide.txt: not a text file"),
        (text("blank.txt", " \n\n\t\n"), "blank.txt: holds no text"),
        (text("x.jsonl", '{"text": "a"}\n{"text": \n'), "x.jsonl: line 2 is not JSON"),
        (text("x.json", '[{"text": "a"}, '), "x.json: the array is not JSON"),
        (text("x.json", "[" * 10**5), "x.json: the array is not JSON"),
        (text("x.jsonl", '"a"\n'), "x.jsonl: line 1 is no JSON object"),
        (text("x.json", "[1]"), "x.json: row 1 is no JSON object"),
        (text("x.csv", "a,b\n1,2\n"), r"x.csv has no column of texts \(its columns: a, b\); name the column"),
    ],
)
def test_data_that_are_no_texts(write: Callable[[], str], message: str, language_model: nn.Module) -> None:
    with pytest.raises(MomosError, match=message) as error:
        open_calibration(write(), language_model, seed=0, source=str(minilm_directory()))
    assert "\n" not in str(error.value)
