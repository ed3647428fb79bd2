"""Indices in b bits each, least significant bit first (docs/format.md)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.coding.protocol import Decoder, Encoded, Indices, Part, Stream
from momos_compress.errors import FormatError


def index_bits(k: int) -> int:
    """Number of bits of an index below k: ceil(log2 k), and at least 1."""
    return max(1, (k - 1).bit_length())


def packed_bytes(count: int, bits: int) -> int:
    """Number of bytes of ``count`` indices of ``bits`` bits each."""
    return -(-count * bits // 8)


def pack(indices: np.ndarray, bits: int) -> bytes:
    r"""Pack indices; zero bits fill the last byte.

    Args:
        indices: Integers below 2^bits, (n,).
        bits: Bits of an index, 1..24.

    Returns:
        ceil(n bits / 8) bytes.

    Examples:
        >>> pack(np.array([0, 1, 2, 3, 4]), bits=3)
        b'\x88F'
    """
    count = len(indices)
    # Eight indices fill exactly `bits` bytes, so all groups of eight are packed at once, byte by byte.
    grouped = np.zeros((-(-count // 8), 8), dtype=np.uint32)
    grouped.reshape(-1)[:count] = indices
    out = np.zeros((len(grouped), bits), dtype=np.uint8)
    for i in range(8):
        first, last = i * bits // 8, (i * bits + bits - 1) // 8
        for byte in range(first, last + 1):
            shift = 8 * byte - i * bits
            part = grouped[:, i] >> shift if shift >= 0 else grouped[:, i] << -shift
            out[:, byte] |= (part & 0xFF).astype(np.uint8)
    return out.tobytes()[: packed_bytes(count, bits)]


def unpack(packed: torch.Tensor, count: int, bits: int) -> torch.Tensor:
    """Unpack indices on the device of the bytes.

    Args:
        packed: ceil(count bits / 8) bytes, uint8.
        count: Number of indices.
        bits: Bits of an index, 1..24.

    Returns:
        The indices, (count,) int32.

    Raises:
        FormatError: The bytes are too few or too many, or a padding bit is set.
    """
    if packed.numel() != packed_bytes(count, bits):
        raise FormatError(f"{packed.numel()} bytes of indices where {packed_bytes(count, bits)} belong")
    unused = -count * bits % 8
    if unused and int(packed[-1]) >> (8 - unused):
        raise FormatError("a padding bit behind the last index is set")
    groups = -(-count // 8)
    columns = torch.nn.functional.pad(packed, (0, groups * bits - packed.numel())).view(groups, bits)
    out = torch.zeros(groups, 8, dtype=torch.int32, device=packed.device)
    for i in range(8):
        first, last = i * bits // 8, (i * bits + bits - 1) // 8
        for byte in range(first, last + 1):
            shift = 8 * byte - i * bits
            part = columns[:, byte].to(torch.int32)
            out[:, i] |= part << shift if shift >= 0 else part >> -shift
    out &= (1 << bits) - 1
    return out.view(-1)[:count]


@dataclass(frozen=True)
class PackedCoding:
    """Every index in ceil(log2 k) bits; an index can be read without decoding those before it."""

    features: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    motifs: tuple[int, int] = (1, 2**24)

    def encode(self, indices: Indices) -> Encoded:
        """Pack piece by piece, at the time when the bytes are read."""
        bits = index_bits(indices.k)

        def stream(part: Part) -> Stream:
            def data() -> Iterator[bytes]:
                for piece in indices.read(part.name):
                    yield pack(piece, bits)

            return Stream(data, packed_bytes(part.blocks, bits))

        return Encoded("packed", {}, stream)

    def check_tables(self, k: int, parts: Sequence[Part], sizes: Mapping[str, int]) -> None:
        """Accept; this coding has no tables."""

    def stream_bytes(self, k: int, part: Part, stored: int) -> int:
        """Number of bytes of the parameter's indices, which the reader compares with what is stored."""
        return packed_bytes(part.blocks, index_bits(k))

    def decoder(self, k: int, parts: Sequence[Part], table: Callable[[str], bytes]) -> Decoder:
        """Return a decoder that unpacks on the device of the stream."""

        def decode(part: Part, data: torch.Tensor) -> torch.Tensor:
            indices = unpack(data, part.blocks, index_bits(k))
            if int(indices.max()) >= k:
                raise FormatError(f"index {int(indices.max())} where there are {k} motifs")
            return indices

        return decode


PACKED = PackedCoding()
