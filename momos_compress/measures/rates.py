"""Rates of general compressors: the share of a stream that gzip, bz2 and lzma leave."""

import bz2
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np


class Compressor(Protocol):
    """An incremental compressor of the standard library."""

    def compress(self, data: bytes, /) -> bytes:
        """Take more data, and return what is ready."""

    def flush(self) -> bytes:
        """Return the end of the stream."""


COMPRESSORS: Mapping[str, Callable[[], Compressor]] = {
    "gzip": lambda: zlib.compressobj(9, wbits=31),  # 31: the header and trailer of a gzip file
    "bz2": lambda: bz2.BZ2Compressor(9),
    "lzma": lambda: lzma.LZMACompressor(preset=9),
}
"""Name -> a compressor at its highest level."""


class StreamRates:
    """Compressed over original size of a stream of bytes, which is not held in memory."""

    def __init__(self) -> None:
        self._compressors = {name: make() for name, make in COMPRESSORS.items()}
        self._sizes = dict.fromkeys(COMPRESSORS, 0)
        self._bytes = 0

    def add(self, data: bytes) -> None:
        """Append to the stream."""
        self._bytes += len(data)
        for name, compressor in self._compressors.items():
            self._sizes[name] += len(compressor.compress(data))

    def result(self) -> dict[str, float]:
        """End the stream, and return compressor -> rate; nothing for an empty stream."""
        for name, compressor in self._compressors.items():
            self._sizes[name] += len(compressor.flush())
        return {name: size / self._bytes for name, size in self._sizes.items()} if self._bytes else {}


class BitRates:
    """Rates of a stream of bits: eight to the byte, first bit highest, the last byte filled with zeros."""

    def __init__(self) -> None:
        self._rates = StreamRates()
        self._rest = np.zeros(0, dtype=bool)

    def add(self, bits: np.ndarray) -> None:
        """Append bits (m,)."""
        bits = np.concatenate([self._rest, bits]) if len(self._rest) else bits
        whole = len(bits) // 8 * 8
        self._rates.add(np.packbits(bits[:whole]).tobytes())
        self._rest = bits[whole:].copy()

    def result(self) -> dict[str, float]:
        """End the stream, and return compressor -> rate."""
        self._rates.add(np.packbits(self._rest).tobytes())
        return self._rates.result()
