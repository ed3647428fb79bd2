"""Texts that a sequence classifier of transformers trains on, with their classes where they have some."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from momos_compress.data.batches import to_device
from momos_compress.data.text_columns import labels_of
from momos_compress.data.texts import open_text_pool
from momos_compress.errors import MomosError
from momos_compress.finetuning.samples import Place, Samples
from momos_compress.finetuning.settings import Augment


class TextKind:
    """Texts as a sequence classifier of transformers takes them.

    Args:
        model: The classifier.
        device: Where its inputs go.
        source: Where it came from, for its tokenizer.
    """

    def __init__(self, model: nn.Module, device: str, source: str | None) -> None:
        config: Any = getattr(model, "config", None)
        self._model, self._source = model, source
        self.network, self.device = type(model).__name__, device
        self.classes = int(getattr(config, "num_labels", 0))

    def open(self, data: str) -> Samples:
        """Open a table of texts with a column "label" or "labels", or a file of texts without."""
        texts = open_text_pool(data, self._model, self._source)
        labels = labels_of(texts.files)
        if labels is not None and len(labels) != len(texts):
            raise MomosError(f"{data}: {len(labels):,} labels beside {len(texts):,} texts; give each text its label")
        classes = None if labels is None else max(labels) + 1
        return Samples(data, "texts", (texts, labels), tuple(range(len(texts))), classes)

    def views(self, samples: Samples, *, augment: Augment = "none", seed: int = 0) -> "TextViews":
        """Show texts as tokens; nothing is varied."""
        return TextViews(samples)

    def prepare(self, batch: dict[str, torch.Tensor]) -> Any:
        """Put a batch on the network's device."""
        return to_device(batch, self.device)


class TextViews(Dataset[tuple[dict[str, list[int]], int]]):
    """Texts as tokens with their classes, by place; tokens are made once."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self._texts, self._labels = samples.data
        self._tokens: dict[int, dict[str, list[int]]] | None = None

    def __len__(self) -> int:
        return len(self.samples.order)

    def __getitem__(self, place: Place) -> tuple[dict[str, list[int]], int]:
        index = self.samples.order[place[1]]
        if self._tokens is None:
            self._tokens = {}
            for position, tokens in zip(self.samples.order, self._texts.read(self.samples.order), strict=True):
                if isinstance(tokens, MomosError):
                    raise MomosError(f"{Path(self.samples.name).name}, text {position + 1}: {tokens}") from tokens
                self._tokens[position] = tokens
        return self._tokens[index], -1 if self._labels is None else self._labels[index]

    def collate(self, items: list[tuple[dict[str, list[int]], int]]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Pad items to (n, longest) each, and stack classes to (n,)."""
        tokens, targets = zip(*items, strict=True)
        return self._texts.batch(tokens), torch.tensor(targets)
