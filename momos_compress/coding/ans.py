"""Entropy-coded indices: a stream a parameter, and one model for the whole file (docs/format.md, "ans")."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from momos_compress.coding.counts import most_count_bytes, read_counts, store_counts
from momos_compress.coding.index_model import MAX_ANS_MOTIFS, IndexModel, least_words
from momos_compress.coding.protocol import Decoder, Encoded, Indices, Part, Stream
from momos_compress.errors import FormatError

COUNTS = "momos.counts"
"""Stored tensor with the number of blocks of each motif, rounded."""
WORD_BYTES = 4
"""Bytes of a word of the stream."""


@dataclass(frozen=True)
class AnsCoding:
    """Fewer bits for the indices of motifs that are used more; the mean is near the entropy of an index."""

    features: tuple[str, ...] = ("ans",)
    tables: tuple[str, ...] = (COUNTS,)
    motifs: tuple[int, int] = (2, MAX_ANS_MOTIFS)  # one motif has nothing to tell apart

    def encode(self, indices: Indices) -> Encoded:
        """Code with the counts as they are stored, rounded: those are what a decoder has."""
        data = store_counts(indices.usage)
        model = IndexModel(read_counts(data, indices.k))

        def stream(part: Part) -> Stream:
            return Stream(lambda: [model.encode(indices.read(part.name, backwards=True), part.blocks)])

        return Encoded("ans", {COUNTS: data}, stream)

    def check_tables(self, k: int, parts: Sequence[Part], sizes: Mapping[str, int]) -> None:
        """Refuse counts that are longer than those of k motifs can be."""
        check_counts(k, sizes)

    def stream_bytes(self, k: int, part: Part, stored: int) -> int:
        """Number of bytes in whole words; too few for the blocks are refused."""
        return word_bytes(part, stored)

    def decoder(self, k: int, parts: Sequence[Part], table: Callable[[str], bytes]) -> Decoder:
        """Return a decoder that works on the CPU, as each index depends on those decoded before it."""
        model = IndexModel(read_counts(table(COUNTS), k))

        def decode(part: Part, data: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(model.decode(bytes_of(data), part.blocks)).to(data.device)

        return decode


ANS = AnsCoding()


def check_counts(k: int, sizes: Mapping[str, int]) -> None:
    """Check the size of the stored counts before they are read.

    Raises:
        FormatError: They are longer than the counts of k motifs can be.
    """
    if sizes[COUNTS] > most_count_bytes(k):
        raise FormatError(f"{COUNTS!r} is longer than counts of {k:,} motifs are")


def word_bytes(part: Part, stored: int) -> int:
    """Number of bytes in whole words among ``stored`` bytes.

    Raises:
        FormatError: They are too few for the indices of the parameter.
    """
    size = stored // WORD_BYTES * WORD_BYTES
    if size < WORD_BYTES * least_words(part.blocks):
        raise FormatError(f"its stream has {stored:,} bytes, which {part.blocks:,} blocks cannot have")
    return size


def bytes_of(data: torch.Tensor) -> bytes:
    """The bytes of a stream (bytes,) uint8."""
    return data.cpu().numpy().tobytes()
