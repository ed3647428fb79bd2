"""Inputs to calibrate on, written to the working directory, and what is read of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from momos_compress import evaluate
from momos_compress.data.draws import CalibrationData

IMAGES = 12
"""Images that ``save_images`` saves."""

SENTENCES = [f"Sentence number {number} is about {'blue ' * (number % 7)}motifs." for number in range(20)]

EXPECTED_IMAGES = "expected is a folder of images, a tar of one, or a data set with an image column"
EXPECTED_TEXTS = "expected is a text file with one sample a line, or a data set directory with .parquet"


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
