import csv
import inspect
import json
import re
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from conftest import minilm_directory
from PIL import Image
from torch import Tensor, nn

from momos_compress import MomosError, evaluate
from momos_compress.data import images as calibration_images
from momos_compress.data.draws import CalibrationData, open_calibration
from momos_compress.data.registry import DATASETS
from momos_compress.sources import hub

IMAGES = 12
SENTENCES = [f"Sentence number {number} is about {'blue ' * (number % 7)}motifs." for number in range(20)]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(number: int, size: tuple[int, int] = (40, 32)) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save_images(directory: str, count: int = IMAGES, classes: str = "ab") -> Path:
    """An image folder of ``count`` images; with no classes, a flat one."""
    for number in range(count):
        path = Path(directory, classes[number % 2] if classes else "", f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    return Path(directory)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """A timm network that resizes and crops."""
    return timm.create_model("test_resnet").eval()


@pytest.fixture(scope="module")
def language_model() -> nn.Module:
    """A BERT with the vocabulary of MiniLM, and nothing known of where it came from."""
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)).eval()


def rows(data: CalibrationData | None, size: int = 5) -> Tensor:
    assert data is not None
    batches = list(data.batches(size))
    assert all(isinstance(batch, Tensor) for batch in batches)
    return torch.cat(batches)  # type: ignore[arg-type]


def contained(some: Tensor, others: Tensor) -> list[int]:
    """For each of some, how many of the others are exactly equal to it."""
    return [sum(torch.equal(one, other) for other in others) for one in some]


def sentences_of(data: CalibrationData | None, tokenizer: Any) -> list[str]:
    assert data is not None
    tokens = [row for batch in data.batches(3) for row in batch["input_ids"]]  # type: ignore[call-overload]
    return tokenizer.batch_decode(tokens, skip_special_tokens=True)


def seen_by(network: nn.Module, data: str) -> Tensor:
    """The inputs that ``evaluate`` gives the network."""
    seen: list[Tensor] = []
    hook = network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    evaluate(network, data)
    hook.remove()
    return torch.cat(seen)


# Images


@pytest.mark.parametrize("kind", ["folder", "flat", "tar", "digits", "grey"])
def test_images_are_transformed_as_evaluate_does(kind: str, network: nn.Module) -> None:
    data = kind
    if kind == "digits":
        network = timm.create_model("digits_resnet8")
    elif kind == "grey":
        save_images("grey")
        network = timm.create_model("digits_resnet8")
    else:
        save_images("images" if kind == "tar" else kind, classes="" if kind == "flat" else "ab")
    if kind == "tar":
        data = "images.tar"
        with tarfile.open(data, "w") as tar:
            tar.add("images")
    expected = seen_by(network, data)
    calibration = open_calibration(data, network, seed=0)
    assert calibration.samples == len(expected)
    assert calibration.description == f"{len(expected)} images of {data}"
    assert contained(rows(calibration), expected) == contained(expected, expected)


def test_a_draw_is_seeded_and_every_pass_gives_the_same(network: nn.Module) -> None:
    data = str(save_images("images"))
    first = open_calibration(data, network, samples=8, seed=1)
    again = open_calibration(data, network, samples=8, seed=1)
    assert torch.equal(rows(first), rows(first))
    assert torch.equal(rows(first, 3), rows(again, 8))
    assert not torch.equal(rows(first), rows(open_calibration(data, network, samples=8, seed=2)))
    assert contained(rows(first), rows(first)) == [1] * 8
    assert [len(batch) for batch in first.batches(3)] == [3, 3, 2]
    assert [len(batch) for batch in first.batches(3, limit=4)] == [3, 1]
    assert torch.equal(torch.cat(list(first.batches(3, limit=4))), rows(first)[:4])  # type: ignore[arg-type]
    assert len(list(first.batches(3, limit=100))) == 3


def test_held_out_samples_are_others_and_neither_part_depends_on_the_size_of_the_other(network: nn.Module) -> None:
    data = str(save_images("images"))
    small = open_calibration(data, network, samples=4, seed=0, held_out=3)
    large = open_calibration(data, network, samples=9, seed=0, held_out=3)
    alone = open_calibration(data, network, samples=9, seed=0)
    assert torch.equal(rows(small.held_out), rows(large.held_out))
    assert torch.equal(rows(small), rows(large)[:4])
    assert torch.equal(rows(large), rows(alone))
    assert contained(rows(large.held_out), rows(large)) == [0, 0, 0]
    assert alone.held_out is None
    assert large.held_out is not None
    assert large.held_out.description == "3 further images of images"
    rest = open_calibration(data, network, seed=0, held_out=3)
    assert rest.samples == 9
    assert rest.warnings == ("images has only 9 images beside 3 held out, fewer than the usual 1,024",)


def test_the_draw_depends_on_names_and_not_on_how_the_file_system_lists_them(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    # To timm's natural order, "1.png", "01.png" and "001.png" are the same name.
    for number in range(6):
        picture(number).save(f"{'0' * number}1.png")
    from timm.data.readers import reader_image_folder

    walk = reader_image_folder.os.walk
    expected = rows(open_calibration(".", network, seed=0))

    def backwards(*arguments: Any, **options: Any) -> Iterator[Any]:
        for root, directories, files in walk(*arguments, **options):
            yield root, directories, sorted(files, reverse=seen.append(root) is None)

    seen: list[str] = []
    monkeypatch.setattr(reader_image_folder.os, "walk", backwards)
    assert torch.equal(rows(open_calibration(".", network, seed=0)), expected)
    monkeypatch.undo()
    assert seen


def test_a_large_set_is_decoded_again_on_each_pass(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(save_images("images"))
    kept = open_calibration(data, network, seed=0)
    monkeypatch.setattr(calibration_images, "KEPT_BYTES", 0)
    large = open_calibration(data, network, seed=0)
    assert torch.equal(rows(large), rows(kept))
    for path in Path("images").rglob("*.png"):
        path.unlink()
    assert len(rows(kept)) == IMAGES
    with pytest.raises(MomosError, match=r"\.png: an image that cannot be read"):
        rows(large)


def test_images_that_cannot_be_read_are_skipped_and_counted(network: nn.Module) -> None:
    data = str(save_images("images", 40))
    sound = rows(open_calibration(data, network, seed=0))
    Path("images/a/0.png").write_bytes(b"no image")
    Path("images/b/1.png").write_bytes(b"")
    Path("images/a/2.png").write_bytes(Path("images/a/2.png").read_bytes()[:200])
    calibration = open_calibration(data, network, seed=0)
    assert calibration.samples == 37
    assert calibration.warnings[0] == "3 images of images could not be read and were skipped"
    assert contained(rows(calibration), sound) == [1] * 37
    # Others are drawn in their place.
    full = open_calibration(data, network, samples=32, seed=0, held_out=5)
    assert (full.samples, full.held_out.samples) == (32, 5)  # type: ignore[union-attr]
    with pytest.raises(MomosError, match=r"images has 37 images that can be read, too few for 38.*; ask for fewer"):
        open_calibration(data, network, samples=38, seed=0)
    for path in [*Path("images").rglob("*.png")][:25]:
        path.write_bytes(b"no image")
    with pytest.raises(MomosError, match=r"images: 2\d of the \d+ images tried cannot .*\.png: an image.*; replace or"):
        open_calibration(data, network, seed=0)


def test_an_image_of_absurd_size_is_one_that_cannot_be_read(
    network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(save_images("images"))
    picture(0, (400, 400)).save("images/a/huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 70_000)
    calibration = open_calibration(data, network, seed=0)
    assert calibration.warnings[0] == "1 image of images could not be read and was skipped"
    with pytest.raises(MomosError, match=r"huge\.png: an image that cannot be read"):
        evaluate(network, data)


def test_images_of_another_kind_than_the_networks(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MomosError, match=r"digits: an image is \[1, 160, 160\] uint8 .*ResNet takes \[3, 160, 160\]"):
        open_calibration("digits", network, seed=0)

    class Deep:
        targets = (0, 1)

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[Any, int]:
            return self.transform(Image.fromarray(np.zeros((8, 8), np.float32))), 0  # type: ignore[attr-defined]

    monkeypatch.setitem(DATASETS, "deep", Deep)
    with pytest.raises(MomosError, match=r"deep: an image is \[1, 8, 8\] float32"):
        open_calibration("deep", timm.create_model("digits_resnet8"), seed=0)


def test_a_network_whose_mean_is_of_other_channels() -> None:
    save_images("images")
    network = timm.create_model("digits_resnet8", pretrained_cfg_overlay={"mean": (0, 0, 0), "std": (1, 1, 1)})
    with pytest.raises(MomosError, match=r"takes \[1, 8, 8\], and its mean is of 3 channels"):
        open_calibration("images", network, seed=0)


# Data sets as the datasets library saves them


def encoded(number: int) -> bytes:
    picture(number).save(f"{number}.png")
    content = Path(f"{number}.png").read_bytes()
    Path(f"{number}.png").unlink()
    return content


def save_table(directory: str, kind: str, columns: dict[str, list[Any]]) -> None:
    """Two files of ``kind`` with half of the rows each, in parts of three rows."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    Path(directory).mkdir(parents=True, exist_ok=True)
    table = pyarrow.table(columns)
    half = len(table) // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        path = f"{directory}/data-{number:05}-of-00002.{'parquet' if kind == 'parquet' else 'arrow'}"
        if kind == "parquet":
            parquet.write_table(part, path, row_group_size=3)
            continue
        writers = {"stream": pyarrow.ipc.new_stream, "file": pyarrow.ipc.new_file}
        with writers[kind](path, table.schema) as writer:
            writer.write_table(part, max_chunksize=3)


@pytest.mark.parametrize("kind", ["parquet", "stream", "file"])
def test_the_image_column_of_a_data_set(kind: str, network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    images: list[Any] = [{"bytes": encoded(number), "path": f"{number}.png"} for number in range(IMAGES)]
    save_table("set", kind, {"label": list(range(IMAGES)), "image": images})
    expected = seen_by(network, str(save_images("images")))
    calibration = open_calibration("set", network, samples=7, seed=0, held_out=5)
    both = torch.cat([rows(calibration), rows(calibration.held_out)])
    assert contained(both, both) == contained(both, expected) == [1] * IMAGES
    monkeypatch.setattr(calibration_images, "KEPT_BYTES", 0)
    assert torch.equal(rows(open_calibration("set", network, samples=7, seed=0)), rows(calibration))
    images[3], images[8] = None, {"bytes": b"no image", "path": None}
    save_table("holes", kind, {"image": images})
    holes = open_calibration("holes", network, seed=0)
    assert holes.samples == IMAGES - 2
    assert holes.warnings[0] == "2 images of holes could not be read and were skipped"


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


def test_parquet_without_pyarrow(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MomosError, match=r"need pyarrow; pip install 'momos-compress\[datasets\]'"):
        open_calibration("x.parquet", network, seed=0)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"ARROW1\0\0" + b"\1" * 99])
def test_damaged_tables(name: str, content: bytes, network: nn.Module) -> None:
    pytest.importorskip("pyarrow")
    Path(name).write_bytes(content)
    with pytest.raises(MomosError, match=rf"{name}: not a sound {name[2:]} file"):
        open_calibration(name, network, seed=0)


def test_tables_without_the_column_or_rows(network: nn.Module, language_model: nn.Module) -> None:
    save_table("numbers", "parquet", {"label": [1, 2], "weight": [0.5, 0.5]})
    source = str(minilm_directory())
    with pytest.raises(MomosError, match=r"00002\.parquet has no column of images \(its columns: label, weight\)"):
        open_calibration("numbers", network, seed=0)
    with pytest.raises(MomosError, match=r"00002\.parquet has no column of texts \(its columns: label, weight\)"):
        open_calibration("numbers", language_model, seed=0, source=source)
    save_table("none", "stream", {"image": [], "text": []})
    with pytest.raises(MomosError, match="none: holds no rows"):
        open_calibration("none", network, seed=0)


# Tokens


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


def word_tokenizer(directory: str, **special: str) -> Path:
    """A tokenizer of a few words, saved: "a" to "e" are tokens 1 to 5, and 6 is the end of a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["[UNK]", *"abcde", "[END]"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", padding_side="left", **special)
    saved.save_pretrained(directory)
    return Path(directory)


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


def test_where_the_tokenizer_is_looked_for(language_model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.txt").write_text("a b\n")
    directory = minilm_directory()
    tokens = next(open_calibration("x.txt", language_model, seed=0, source=str(directory)).batches(1))["input_ids"]

    def same(source: str | None) -> bool:
        found = next(open_calibration("x.txt", language_model, seed=0, source=source).batches(1))
        return torch.equal(found["input_ids"], tokens)  # type: ignore[call-overload, arg-type]

    assert same(f"local-dir:{directory}")
    assert same(str(directory / "model.safetensors"))
    asked: list[str] = []

    def fetch(repo: str, filename: str) -> Path | None:
        asked.append(repo)
        return directory / filename if (directory / filename).is_file() else None

    monkeypatch.setattr(hub, "fetch", fetch)
    assert same("org/name@v1")
    assert same("hf-hub:org/other")
    assert set(asked) == {"org/name@v1", "org/other"}
    Path("weights").mkdir()
    monkeypatch.setattr(language_model, "name_or_path", str(directory), raising=False)
    assert same("weights")
    assert same(None)


def test_a_tokenizer_that_is_missing_or_damaged(language_model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.txt").write_text("a b\n")

    def message(source: str | None) -> str:
        with pytest.raises(MomosError) as error:
            open_calibration("x.txt", language_model, seed=0, source=source)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert message(None).startswith("BertModel reads tokens and its tokenizer is missing: nothing is known of")
    Path("empty").mkdir()
    assert "none beside empty; copy tokenizer.json" in message("empty")
    # transformers alone would make up a tokenizer of five words from this.
    Path("empty/config.json").write_bytes((minilm_directory() / "config.json").read_bytes())
    assert "none beside empty; copy tokenizer.json" in message("empty")
    Path("empty/tokenizer.json").write_text("{}")
    assert "empty: its tokenizer cannot be loaded" in message("empty")
    Path("empty/tokenizer.json").unlink()
    Path("empty/tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Tokenizer", null]}}')
    Path("empty/evil.py").write_text("import pathlib; pathlib.Path('ran').touch()")
    assert "empty" in message("empty") or "knows nothing of" in message("empty")
    assert not Path("ran").exists()
    monkeypatch.setattr(hub, "fetch", lambda repo, filename: None)
    assert "none beside org/name" in message("org/name")


# Mistakes


def text(name: str, content: str = "some words\n") -> Callable[[], str]:
    def write() -> str:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)
        return name

    return write


def raw(name: str, content: bytes) -> Callable[[], str]:
    def write() -> str:
        Path(name).write_bytes(content)
        return name

    return write


def directory(name: str, *files: Callable[[], str]) -> Callable[[], str]:
    def write() -> str:
        Path(name).mkdir()
        for file in files:
            file()
        return name

    return write


def saved_tensor(name: str) -> Callable[[], str]:
    def write() -> str:
        if name.endswith(".npy"):
            np.save(name, np.zeros(3))
        else:
            torch.save(torch.zeros(3), name)
        return name

    return write


def one_image() -> str:
    picture(0).save("one.png")
    return "one.png"


def no_tar() -> str:
    Path("bad.tar").write_bytes(b"\0" * 100)
    return "bad.tar"


EXPECTED_IMAGES = "expected is a folder of images, a tar of one, or a data set with an image column"
EXPECTED_TEXTS = "expected is a text file with one sample a line, or a data set directory with .parquet"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: "gone", "no image folder or tar 'gone'; a data set by name is one of: .*digits"),
        (directory("empty"), f"empty: holds no images .*{EXPECTED_IMAGES}"),
        (directory("texts", text("texts/a.txt")), f"texts: holds no images .*which ResNet takes; {EXPECTED_IMAGES}"),
        (text("notes.txt"), f"notes.txt: ResNet takes images, and this is one .txt file; {EXPECTED_IMAGES}"),
        (text("notes"), "notes: ResNet takes images, and this is one plain file"),
        (saved_tensor("x.npy"), "x.npy: .* this is one .npy file"),
        (saved_tensor("x.pt"), "x.pt: .* this is one .pt file"),
        (one_image, f"one.png: .* this is one .png file; {EXPECTED_IMAGES}"),
        (no_tar, "bad.tar: not an image folder or a tar of one"),
        (directory("bad", text("bad/a.png")), "bad: 1 of the 1 image tried cannot be read.*a.png.*replace or remove"),
    ],
)
def test_data_that_are_no_images(write: Callable[[], str], message: str, network: nn.Module) -> None:
    with pytest.raises(MomosError, match=message) as error:
        open_calibration(write(), network, seed=0)
    assert "\n" not in str(error.value)


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


@pytest.mark.parametrize(
    ("samples", "held_out", "message"),
    [
        (13, 0, "images has 12 images, too few for 13 to calibrate on; ask for fewer"),
        (10, 3, "images has 12 images, too few for 10 to calibrate on and 3 to hold out; ask for fewer"),
        (None, 12, "images has 12 images and 12 are to be held out, which leaves none; hold out fewer"),
        (0, 0, "at least 1 sample, not 0"),
        (-1, 0, "at least 1 sample, not -1"),
        (None, -1, "held out cannot be -1"),
    ],
)
def test_numbers_that_cannot_be(samples: int | None, held_out: int, message: str, network: nn.Module) -> None:
    with pytest.raises(MomosError, match=message):
        open_calibration(str(save_images("images")), network, samples=samples, seed=0, held_out=held_out)


def test_networks_that_take_something_else() -> None:
    from transformers import ViTConfig, ViTModel

    save_images("images")
    with pytest.raises(MomosError, match=r"a language model of transformers; this is Linear"):
        open_calibration("images", nn.Linear(2, 2), seed=0)
    vit = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(MomosError, match="ViTModel takes pixel_values"):
        open_calibration("images", vit, seed=0)


def test_a_csv_text_may_be_long(language_model: nn.Module) -> None:
    Path("x.csv").write_text("text\n" + "word " * 50_000 + "\n")
    limit = csv.field_size_limit()
    calibration = open_calibration("x.csv", language_model, seed=0, source=str(minilm_directory()))
    assert calibration.samples == 1
    assert csv.field_size_limit() == limit
    assert re.fullmatch(r"1 text of x\.csv", calibration.description)
