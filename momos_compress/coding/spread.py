"""Entropy-coded indices by the levels of rows and columns (docs/format.md, "spread")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.coding.ans import ANS, bytes_of, word_bytes
from momos_compress.coding.class_stream import decode_by_class, encode_by_class
from momos_compress.coding.counts import read_counts, store_counts
from momos_compress.coding.index_model import PRECISION, IndexModel, frequencies
from momos_compress.coding.index_spread import Spread, most_spread_bytes, read_spread
from momos_compress.coding.protocol import Decoder, Encoded, Grid, Indices, Part, Stream
from momos_compress.coding.spread_counts import counts_of
from momos_compress.coding.spread_search import blocks_of, find_spread, stream_bits
from momos_compress.errors import FormatError

SPREAD = "momos.spread"
"""Stored tensor with the counts of each class, and the level of each row and column."""
MAX_SPREAD_MOTIFS = 2**16
"""Largest k that has counts for each class."""


@dataclass(frozen=True)
class SpreadCoding:
    """A model for each sum of a row's and a column's level."""

    features: tuple[str, ...] = ("ans", "spread")
    tables: tuple[str, ...] = (SPREAD,)
    motifs: tuple[int, int] = (2, MAX_SPREAD_MOTIFS)

    def encode(self, indices: Indices) -> Encoded:
        """Find levels and code by them, or code as ``ans`` where levels would take more bytes than they save."""

        def read(name: str) -> np.ndarray:
            return np.concatenate(list(indices.read(name)))

        spread = find_spread(spread_grids(indices.parts), read, indices.k, indices.usage)
        table = spread.to_bytes()
        if stream_bits(spread, blocks_of(spread, read)) + 8 * len(table) >= _ans_bits(indices):
            return ANS.encode(indices)
        models = _models(spread)

        def stream(part: Part) -> Stream:
            return Stream(lambda: [encode_by_class(models, spread.classes(part.name).reshape(-1), read(part.name))])

        return Encoded("spread", {SPREAD: table}, stream)

    def check_tables(self, k: int, parts: Sequence[Part], sizes: Mapping[str, int]) -> None:
        """Refuse a table that is longer than that of these motifs, rows and columns can be."""
        if sizes[SPREAD] > most_spread_bytes(k, spread_grids(parts)):
            raise FormatError(
                f"{SPREAD!r} is longer than counts of {k:,} motifs and levels of its rows and columns are"
            )

    def stream_bytes(self, k: int, part: Part, stored: int) -> int:
        """Number of bytes in whole words; too few for the blocks are refused."""
        return word_bytes(part, stored)

    def decoder(self, k: int, parts: Sequence[Part], table: Callable[[str], bytes]) -> Decoder:
        """Return a decoder that works on the CPU, on one class of blocks after another."""
        spread = read_spread(table(SPREAD), k, spread_grids(parts))
        models = _models(spread)

        def decode(part: Part, data: torch.Tensor) -> torch.Tensor:
            classes = spread.classes(part.name).reshape(-1)
            return torch.from_numpy(decode_by_class(models, classes, bytes_of(data))).to(data.device)

        return decode


BY_SPREAD = SpreadCoding()


def spread_grids(parts: Sequence[Part]) -> dict[str, Grid]:
    """Name of each parameter -> its rows and columns of blocks; one that is not cut by rows is a single row."""
    return {part.name: part.grid or (1, part.blocks) for part in parts}


def _models(spread: Spread) -> list[IndexModel]:
    return [IndexModel(counts) for counts in counts_of(spread.codes)]


def _ans_bits(indices: Indices) -> float:
    """Bits of the streams and the counts under one model for the whole file."""
    data = store_counts(indices.usage)
    shares = frequencies(read_counts(data, indices.k))
    return 8 * len(data) + float(indices.usage @ (PRECISION - np.log2(shares)))
