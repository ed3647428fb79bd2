"""Bit packing of motif indices: b bits each, least significant bit first (docs/format.md)."""

import numpy as np
import torch

from momos_compress.errors import FormatError


def index_bits(k: int) -> int:
    """Bits of one index among k motifs: ceil(log2 k), and at least 1."""
    return max(1, (k - 1).bit_length())


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that ``count`` indices of ``bits`` bits take."""
    return -(-count * bits // 8)


def pack(indices: np.ndarray, bits: int) -> bytes:
    """Pack indices (n,) below 2^bits, 1 <= bits <= 24, into ceil(n bits / 8) bytes; the last is filled with zero bits.

    >>> pack(np.array([0, 1, 2, 3, 4]), bits=3)
    b'\\x88F'
    """
    count = len(indices)
    # Eight indices fill exactly `bits` bytes, so each byte of such a group draws on the same few of them.
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
    """Undo ``pack`` on the tensor's own device: uint8 (ceil(count bits / 8),) -> int32 (count,).

    Raises FormatError where the length is off or a padding bit is set.
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
