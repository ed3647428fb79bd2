"""What a coding of indices is: from the motif of each block to bytes, and back.

A coding works on one file at a time. It may store tables for the whole file (how often each motif is used, say), and
it gives each compressed parameter a stream of its own, so that one tensor can be decoded alone.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

Grid = tuple[int, int]
"""Rows of blocks, and blocks in a row."""


@dataclass(frozen=True)
class Part:
    """The indices of one parameter, as far as a coding has to know them.

    Attributes:
        name: The parameter's name.
        blocks: Number of its blocks, which is the number of its indices.
        grid: Its rows and columns of blocks; None where it is not cut by rows.
    """

    name: str
    blocks: int
    grid: Grid | None = None


class Indices(Protocol):
    """The indices of a whole file, read one parameter at a time."""

    @property
    def k(self) -> int:
        """Number of motifs; an index lies in 0..k - 1, and motifs are numbered by falling use."""

    @property
    def usage(self) -> np.ndarray:
        """Blocks of each motif: (k,) int64, not increasing."""

    @property
    def parts(self) -> Sequence[Part]:
        """The parameters in the file's order."""

    def read(self, name: str, *, backwards: bool = False) -> Iterator[np.ndarray]:
        """The indices of a parameter in pieces (n,); all but the last piece have a multiple of 8 of them.

        Args:
            name: The parameter.
            backwards: Whether the last piece comes first; within a piece the order stays.
        """


@dataclass(frozen=True)
class Stream:
    """The coded indices of one parameter.

    Attributes:
        data: Gives its bytes in pieces, each time that it is called.
        size: Their number where it is known without coding; None where it is not.
    """

    data: Callable[[], Iterable[bytes]]
    size: int | None = None


@dataclass(frozen=True)
class Encoded:
    """A file's indices as they will be stored.

    Attributes:
        coding: Name of the coding that was used; a coding may give way to another that takes fewer bytes.
        tables: Bytes of the coding's own stored tensors, by name.
        stream: The stream of a parameter.
    """

    coding: str
    tables: Mapping[str, bytes]
    stream: Callable[[Part], Stream]


class Decoder(Protocol):
    """Decodes the streams of one file."""

    def __call__(self, part: Part, data: torch.Tensor) -> torch.Tensor:
        """The indices of a parameter.

        Args:
            part: The parameter.
            data: Its stream, (bytes,) uint8, on the device where the indices are wanted.

        Returns:
            (blocks,) int32, on the device of ``data``.

        Raises:
            FormatError: The stream is not exactly that of so many indices below k.
        """


class IndexCoding(Protocol):
    """A coding of indices. One instance serves all files, so it holds no state."""

    @property
    def features(self) -> tuple[str, ...]:
        """Extensions of the format that a reader must know to decode; no other coding has the same ones."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the stored tensors that are its own; each begins with ``momos.``."""

    @property
    def motifs(self) -> tuple[int, int]:
        """The least and the largest k that it can code; beyond, files are packed."""

    def encode(self, indices: Indices) -> Encoded:
        """Code a file's indices, of which there is at least one."""

    def check_tables(self, k: int, parts: Sequence[Part], sizes: Mapping[str, int]) -> None:
        """Refuse tables that cannot be, before they are read.

        Args:
            k: Number of motifs.
            parts: The file's parameters.
            sizes: Bytes of each of ``tables``.

        Raises:
            FormatError: A table is longer than it can be.
        """

    def stream_bytes(self, k: int, part: Part, stored: int) -> int:
        """How many of ``stored`` bytes are the stream of a parameter; one guard byte may follow (docs/format.md).

        Raises:
            FormatError: So many bytes cannot hold so many indices. This bounds what a short file makes a reader
                allocate.
        """

    def decoder(self, k: int, parts: Sequence[Part], table: Callable[[str], bytes]) -> Decoder:
        """What decodes the streams of a file.

        Args:
            k: Number of motifs.
            parts: The file's parameters.
            table: Reads one of ``tables``, verified.

        Raises:
            FormatError: A table is damaged.
        """
