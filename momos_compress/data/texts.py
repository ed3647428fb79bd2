"""Calibration inputs of language models: texts as tokens, the user's or those that ship with the package."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from momos_compress.data.corpus import corpus_texts, texts_of_any_length
from momos_compress.data.dataset_files import EXPECTED_TEXTS, TEXT_SUFFIXES, DataFiles, data_files
from momos_compress.data.registry import DATASETS
from momos_compress.data.text_columns import texts
from momos_compress.data.tokenizer import REMEDY, load_tokenizer
from momos_compress.errors import MomosError, one_line
from momos_compress.sources.architecture import quiet_transformers

MAX_TOKENS = 256
"""Tokens of a text at most, fewer where the tokenizer or the model takes fewer."""

CHARACTERS_PER_TOKEN = 100
"""Characters given to the tokenizer for each token a text may have: of a very long text only the beginning counts."""

NO_FILES = DataFiles(())
"""Where texts are not the user's."""


class TextPool:
    """Texts by position, as tokens.

    Attributes:
        noun: "text".
        part: What of the data they are: "" for all, or "the training split of ".
        files: The user's files that hold them, in order; none for the texts that ship with the package.
    """

    noun = "text"

    def __init__(
        self,
        read: Callable[[], Iterable[str]],
        count: int,
        model: nn.Module,
        tokenizer: Any,
        found: DataFiles = NO_FILES,
    ) -> None:
        """Take texts.

        Args:
            read: Gives the texts, in the same order every time.
            count: How many there are.
            model: The language model, which says which tokens it takes and how many.
            tokenizer: The model's tokenizer.
            found: The files that they are read from.
        """
        self.part, self.files, self.network = found.part, found.files, type(model).__name__
        self._texts, self._count, self._tokenizer = read, count, tokenizer
        config: Any = getattr(model, "config", None)
        positions = getattr(config, "max_position_embeddings", None)
        limits = (MAX_TOKENS, tokenizer.model_max_length, positions)
        self._max_tokens = min(limit for limit in limits if isinstance(limit, int) and limit > 0)
        embeddings: Any = getattr(model, "get_input_embeddings", lambda: None)()
        self._vocabulary = getattr(embeddings, "num_embeddings", None)
        self._arguments = frozenset(inspect.signature(model.forward).parameters)
        self._decoder_start = _decoder_start(config)

    def __len__(self) -> int:
        return self._count

    def read(self, positions: Sequence[int]) -> Iterator[dict[str, list[int]] | MomosError]:
        """For each position its text's tokens, or why there are none."""
        wanted = set(positions)
        found = {position: text for position, text in enumerate(self._texts()) if position in wanted}
        for position in positions:
            tokens = self._tokens(found[position])
            if set(tokens["input_ids"]) <= set(self._tokenizer.all_special_ids):
                shown = one_line(found[position], 40)
                yield MomosError(f"the tokenizer knows nothing of {shown!r}")
            else:
                yield tokens

    def batch(self, items: Sequence[Mapping[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Items of ``read`` as the model takes them: (n, longest) int64 each, with an attention mask."""
        tokenizer = self._tokenizer
        end = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        fill = {"input_ids": end or 0, "token_type_ids": tokenizer.pad_token_type_id}
        longest = max(len(item["input_ids"]) for item in items)
        # On the right, whatever the tokenizer prefers for generating: positions then count from each text's beginning.
        batch = {
            name: torch.tensor([item[name] + [fill.get(name, 0)] * (longest - len(item[name])) for item in items])
            for name in items[0]
        }
        if self._decoder_start is not None:
            start = torch.full((len(items), 1), self._decoder_start)
            batch["decoder_input_ids"] = torch.cat([start, batch["input_ids"][:, :-1]], dim=1)
        return batch

    def lengths(self, items: Sequence[Mapping[str, list[int]]]) -> tuple[int, ...]:
        """Tokens of each item."""
        return tuple(len(item["input_ids"]) for item in items)

    def settle(self, items: Iterable[Any]) -> None:
        """Nothing is held besides the items."""

    def _tokens(self, text: str) -> dict[str, list[int]]:
        try:
            with quiet_transformers():
                encoded = self._tokenizer(
                    text[: CHARACTERS_PER_TOKEN * self._max_tokens], truncation=True, max_length=self._max_tokens
                )
        except Exception as error:  # tokenizers raise what a strange file leads them to
            raise MomosError(
                f"the tokenizer of {self.network} fails on {one_line(text, 40)!r}: {one_line(error, 120)}"
            ) from error
        tokens = {name: list(encoded[name]) for name in encoded if name in self._arguments}
        largest = max(tokens["input_ids"], default=0)
        if self._vocabulary is not None and largest >= self._vocabulary:
            raise MomosError(
                f"the tokenizer gives token {largest:,} and {self.network} knows {self._vocabulary:,}: it is another "
                f"model's; {REMEDY}"
            )
        return tokens


def open_text_pool(data: str, model: nn.Module, source: str | None) -> TextPool:
    """Open the texts that a language model of transformers is calibrated on.

    Args:
        data: A text file with one sample a line, or a data set directory.
        model: The language model.
        source: Where the model came from, for its tokenizer.

    Raises:
        MomosError: There are no texts, or no tokenizer.
    """
    found = _text_files(data, type(model).__name__)

    def read() -> Iterator[str]:
        return chain.from_iterable(map(texts, found.files))

    count = sum(1 for _ in read())
    if not count:
        raise MomosError(f"{data}: holds no text; {EXPECTED_TEXTS}")
    return TextPool(read, count, model, load_tokenizer(model, source), found)


def open_corpus_pool(model: nn.Module, source: str | None) -> TextPool:
    """Open the texts that ship with the package for a language model of transformers.

    Args:
        model: The language model.
        source: Where the model came from, for its tokenizer.

    Raises:
        MomosError: There is no tokenizer, or the texts are missing.
    """
    tokenizer = load_tokenizer(model, source)
    read = corpus_texts if continues_texts(model) else texts_of_any_length
    return TextPool(read, sum(1 for _ in read()), model, tokenizer)


def continues_texts(model: nn.Module) -> bool:
    """Whether a language model is a decoder alone: to it the beginnings of a long text are short ones."""
    encodes = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return bool(getattr(model, "can_generate", lambda: False)()) and not encodes


def _decoder_start(config: Any) -> int | None:
    """The token that a decoder beside an encoder starts from; None where there is no such decoder."""
    if not getattr(config, "is_encoder_decoder", False):
        return None
    start = getattr(config, "decoder_start_token_id", None)
    start = getattr(config, "pad_token_id", None) if start is None else start
    return 0 if start is None else int(start)


def _text_files(data: str, network: str) -> DataFiles:
    from timm.data.readers.img_extensions import get_img_extensions

    path = Path(data).expanduser()
    if data in DATASETS:
        raise MomosError(f"{data} holds images, and {network} takes texts; {EXPECTED_TEXTS}")
    if not path.exists():
        raise MomosError(f"no text file or data set directory {data!r}; {EXPECTED_TEXTS}")
    found = data_files(path, TEXT_SUFFIXES)
    if path.is_dir():
        endings = get_img_extensions(as_set=True)
        images = sum(file.suffix.lower() in endings for file in path.rglob("*"))
        if images > len(found.files):  # the list of an image folder's classes is no text to calibrate on
            raise MomosError(
                f"{data}: holds more images ({images:,}) than files of texts ({len(found.files):,}), which {network} "
                f"takes; {EXPECTED_TEXTS}"
            )
        if not found.files:
            raise MomosError(f"{data}: holds no texts, which {network} takes; {EXPECTED_TEXTS}")
    return found if found.files else DataFiles((path,))
