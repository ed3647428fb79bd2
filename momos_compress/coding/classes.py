"""Entropy-coded indices with a model for each class of rows and columns (docs/format.md, "classes")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.coding.ans import ANS, COUNTS, bytes_of, check_counts, word_bytes
from momos_compress.coding.class_search import find_classes
from momos_compress.coding.counts import read_counts, store_counts
from momos_compress.coding.index_classes import ClassCoder, most_class_bytes, read_classes
from momos_compress.coding.index_model import MAX_ANS_MOTIFS, IndexModel
from momos_compress.coding.protocol import Decoder, Encoded, Grid, Indices, Part, Stream
from momos_compress.errors import FormatError

CLASSES = "momos.classes"
"""Stored tensor with the class of each row and column, and the factors by which a class changes the counts."""


@dataclass(frozen=True)
class ClassCoding:
    """A model for each class of blocks; parameters that are not cut by rows use the file's one model."""

    features: tuple[str, ...] = ("ans", "classes")
    tables: tuple[str, ...] = (COUNTS, CLASSES)
    motifs: tuple[int, int] = (2, MAX_ANS_MOTIFS)

    def encode(self, indices: Indices) -> Encoded:
        """Find classes and code by them, or code as ``ans`` where classes would take more bytes than they save."""
        data = store_counts(indices.usage)
        counts = read_counts(data, indices.k)

        def read(name: str) -> np.ndarray:
            return np.concatenate(list(indices.read(name)))

        classes = find_classes(grids_of(indices.parts), counts, indices.usage, read)
        if classes is None:
            return ANS.encode(indices)
        coder, model = ClassCoder(counts, classes), IndexModel(counts)

        def stream(part: Part) -> Stream:
            if part.grid is not None:
                return Stream(lambda: [coder.encode(part.name, read(part.name))])
            return Stream(lambda: [model.encode(indices.read(part.name, backwards=True), part.blocks)])

        return Encoded("classes", {COUNTS: data, CLASSES: classes.to_bytes()}, stream)

    def check_tables(self, k: int, parts: Sequence[Part], sizes: Mapping[str, int]) -> None:
        """Refuse counts and classes that are longer than those of these motifs, rows and columns can be."""
        check_counts(k, sizes)
        if sizes[CLASSES] > most_class_bytes(grids_of(parts)):
            raise FormatError(f"{CLASSES!r} is longer than the classes of its rows and columns are")

    def stream_bytes(self, k: int, part: Part, stored: int) -> int:
        """Number of bytes in whole words; too few for the blocks are refused."""
        return word_bytes(part, stored)

    def decoder(self, k: int, parts: Sequence[Part], table: Callable[[str], bytes]) -> Decoder:
        """Return a decoder that works on the CPU, on one class of blocks after another."""
        counts = read_counts(table(COUNTS), k)
        coder = ClassCoder(counts, read_classes(table(CLASSES), counts, grids_of(parts)))
        model = IndexModel(counts)

        def decode(part: Part, data: torch.Tensor) -> torch.Tensor:
            stream = bytes_of(data)
            indices = model.decode(stream, part.blocks) if part.grid is None else coder.decode(part.name, stream)
            return torch.from_numpy(indices).to(data.device)

        return decode


BY_CLASS = ClassCoding()


def grids_of(parts: Sequence[Part]) -> dict[str, Grid]:
    """Name of each parameter that is cut by rows -> its rows and columns of blocks."""
    return {part.name: part.grid for part in parts if part.grid is not None}
