"""Texts of data sets as files."""

import csv
import json
import re
from pathlib import Path

import calibration_fixtures
import pytest
from calibration_inputs import SENTENCES, save_table, sentences_of
from conftest import minilm_directory
from torch import nn

from momos_compress import MomosError
from momos_compress.data.draws import open_calibration

work, language_model = calibration_fixtures.work, calibration_fixtures.language_model


def write_texts(kind: str) -> str:
    """A data set of SENTENCES with an identifier and empty rows; its path."""
    texts = [text for sentence in SENTENCES for text in (sentence, "")]
    records = [{"number": str(number), "kind": "a", "sentence": text} for number, text in enumerate(texts)]
    if kind in ("parquet", "stream", "file"):
        save_table("set", kind, {name: [record[name] for record in records] for name in records[0]})
        return "set"
    Path("set").mkdir()
    if kind == "lines.json":
        Path("set/x.json").write_text("\n".join(map(json.dumps, records)))
    elif kind == "jsonl":
        Path("set/x.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n\n")
    elif kind == "json":
        Path("set/x.json").write_text(json.dumps(records, indent=1))
    elif kind == "csv":
        with Path("set/x.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, records[0])
            writer.writeheader()
            writer.writerows(records)
    elif kind == "txt":
        Path("set/x.txt").write_bytes("\r\n".join(texts).encode("utf-8-sig"))
    else:
        Path("notes").write_text("\n".join(texts))
        return "notes"
    Path("set/dataset_info.json").write_text('{"description": "no data"}')
    Path("set/README.txt").write_text("no data\n")
    return "set"


KINDS = ["parquet", "stream", "file", "jsonl", "json", "lines.json", "csv", "txt", "notes"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_texts_of_a_data_set(kind: str, language_model: nn.Module) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_directory())
    data = write_texts(kind)
    source = str(minilm_directory())
    calibration = open_calibration(data, language_model, samples=13, seed=0, source=source, held_out=7)
    assert calibration.description == f"13 texts of {data}"
    assert calibration.warnings == ()
    found = sentences_of(calibration, tokenizer) + sentences_of(calibration.held_out, tokenizer)
    assert sorted(found) == sorted(sentence.lower() for sentence in SENTENCES)
    again = open_calibration(data, language_model, samples=13, seed=0, source=source)
    assert sentences_of(again, tokenizer) == sentences_of(calibration, tokenizer) == found[:13]


def test_a_table_may_be_named_itself_and_a_text_column_is_taken_by_its_name(language_model: nn.Module) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm_directory())
    cases = {
        "named": {"title": "t", "Text": "the text"},
        "empty at first": {"title": "t", "content": None},
        "first": {"id": 3, "question": "the text", "answer": "a"},
    }
    for records in cases.values():
        last = {key: "the text" if value in (None, "the text") else value for key, value in records.items()}
        Path("x.jsonl").write_text(f"{json.dumps(records)}\n{json.dumps(last)}\n")
        calibration = open_calibration("x.jsonl", language_model, seed=0, source=str(minilm_directory()))
        assert set(sentences_of(calibration, tokenizer)) == {"the text"}


def test_of_several_splits_the_training_one_is_taken(language_model: nn.Module) -> None:
    source = str(minilm_directory())
    for name, lines in {"train-00000-of-00002": 5, "train-00001-of-00002": 4, "test": 7, "validation": 2}.items():
        path = Path(f"set/data/{name}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f'{{"text": "{name} {line}"}}\n' for line in range(lines)))
    calibration = open_calibration("set", language_model, seed=0, source=source)
    assert calibration.description == "9 texts of the training split of set"
    with pytest.raises(MomosError, match=r"the training split of set has 9 texts, too few for 10"):
        open_calibration("set", language_model, samples=10, seed=0, source=source)
    for path in Path("set/data").glob("train*"):
        path.unlink()
    assert open_calibration("set", language_model, seed=0, source=source).description == "9 texts of set"
    for path in Path("set/data").glob("*"):
        path.rename(path.with_name(f"strain-{path.name[:1]}.jsonl"))
    assert open_calibration("set", language_model, seed=0, source=source).description == "9 texts of set"


def test_a_csv_text_may_be_long(language_model: nn.Module) -> None:
    Path("x.csv").write_text("text\n" + "word " * 50_000 + "\n")
    limit = csv.field_size_limit()
    calibration = open_calibration("x.csv", language_model, seed=0, source=str(minilm_directory()))
    assert calibration.samples == 1
    assert csv.field_size_limit() == limit
    assert re.fullmatch(r"1 text of x\.csv", calibration.description)
