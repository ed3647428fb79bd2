"""The texts that ship with the package."""

import gzip
import re
from pathlib import Path

import calibration_fixtures
import pytest
from calibration_inputs import sentences_of
from conftest import minilm_directory
from torch import nn

from momos_compress import MomosError
from momos_compress.data import corpus
from momos_compress.data.corpus import corpus_texts, texts_of_any_length
from momos_compress.data.draws import open_corpus
from momos_compress.data.texts import open_corpus_pool

work, language_model = calibration_fixtures.work, calibration_fixtures.language_model


def test_every_text_is_of_some_length_and_there_is_one_record_of_all() -> None:
    texts = list(corpus_texts())
    assert len(texts) == len(set(texts))
    assert all(100 < len(text) <= 1200 for text in texts)
    assert corpus.CORPUS.stat().st_size < 200_000
    record = corpus.CORPUS.with_name("corpus.md").read_text(encoding="utf-8")
    assert sum(int(count) for count in re.findall(r"^\| (\d+) \|", record, re.MULTILINE)) == len(texts)
    assert f"{len(texts)} texts" in record


def test_a_draw_and_what_is_held_out(language_model: nn.Module) -> None:
    from transformers import AutoTokenizer

    source = str(minilm_directory())
    tokenizer = AutoTokenizer.from_pretrained(source)
    data = open_corpus(language_model, samples=5, seed=0, source=source, held_out=3)
    assert data.description == "5 texts of the corpus that ships with the package"
    assert data.held_out is not None
    assert (data.samples, data.held_out.samples, data.warnings) == (5, 3, ())
    drawn, apart = sentences_of(data, tokenizer), sentences_of(data.held_out, tokenizer)
    assert len({*drawn, *apart}) == 8
    assert sentences_of(open_corpus(language_model, samples=5, seed=0, source=source), tokenizer) == drawn
    assert sentences_of(open_corpus(language_model, samples=5, seed=1, source=source), tokenizer) != drawn


def test_encoders_get_short_texts_and_whole_ones_and_decoders_whole_ones(language_model: nn.Module) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    whole = list(corpus_texts())
    mixed = list(texts_of_any_length())
    short = [text for text in mixed if text not in set(whole)]
    assert [text for text in mixed if text in set(whole)] == whole[::2]
    assert max(map(len, short)) <= 110
    # No word is lost: what was wrapped is the other texts.
    assert "".join("".join(short).split()) == "".join("".join(whole[1::2]).split())
    long = sum(map(len, whole[::2]))
    assert 0.8 < sum(map(len, short)) / long < 1.2
    source = str(minilm_directory())
    decoder = GPT2LMHeadModel(GPT2Config(vocab_size=30_522, n_embd=8, n_layer=1, n_head=1))
    assert len(open_corpus_pool(decoder, source)) == len(whole)
    assert len(open_corpus_pool(language_model, source)) == len(mixed)


def test_more_than_there_are(language_model: nn.Module) -> None:
    there = len(list(texts_of_any_length()))
    source = str(minilm_directory())
    data = open_corpus(language_model, samples=there + 1, seed=0, source=source, held_out=there)
    assert data.held_out is not None
    assert data.held_out.samples == there // 3
    # A text may hold nothing that this tokenizer knows.
    assert there - there // 3 - 20 < data.samples <= there - there // 3
    assert data.warnings[-1].endswith(f"to draw, fewer than the {there + 1:,} asked for")


@pytest.mark.parametrize(
    "content",
    [None, b"no gzip", gzip.compress(b'"a text"\nnot JSON\n'), gzip.compress(b'"a"')[:12]],
    ids=["nothing", "no gzip", "no JSON", "cut off"],  # else gzip's time is in them, and each process has its own
)
def test_a_broken_installation(content: bytes | None, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = work / "corpus.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(corpus, "CORPUS", path)
    with pytest.raises(
        MomosError, match=r"^the texts that ship with the package cannot be read \(.*\); install it anew"
    ):
        list(corpus_texts())
