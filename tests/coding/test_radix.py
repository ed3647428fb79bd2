"""Base-k digits in words of whole bytes."""

import math

import numpy as np
import pytest
import torch
from second_reader import radix as second_decode

from momos_compress import FormatError
from momos_compress.coding.packed import index_bits, packed_bytes
from momos_compress.coding.protocol import Part
from momos_compress.coding.radix import RADIX, from_words, stream_size, to_words, word_of


def test_golden_bytes_pin_the_format() -> None:
    # 2 + 1*3 + 0*9 + 2*27 + 1*81 = 140; then 2 alone, in the one byte that a digit needs.
    assert to_words(np.array([2, 1, 0, 2, 1]), 3) == bytes([140])
    assert to_words(np.array([2]), 3) == bytes([2])
    # Base 7 has words of six bytes: 7^16 + 6 is the first digit 6 and the last 1.
    assert to_words(np.array([6] + [0] * 15 + [1]), 7) == (7**16 + 6).to_bytes(6, "little")


@pytest.mark.parametrize("k", range(2, 17))
def test_a_word_never_takes_more_than_packed_indices_and_never_less_than_the_logarithm(k: int) -> None:
    size, digits = word_of(k)
    assert 8 * size / digits <= index_bits(k)
    assert 8 * size / digits >= math.log2(k)
    assert k**digits <= 256**size < k ** (digits + 1)
    # No word of up to seven bytes does better; compared in whole numbers.
    for other in range(1, 8):
        most = max(n for n in range(1, 57) if k**n <= 256**other)
        assert size * most <= other * digits


@pytest.mark.parametrize("k", [2, 3, 5, 7, 12, 16])
@pytest.mark.parametrize("blocks", [1, 2, 16, 17, 1000])
def test_streams_decode_and_a_reader_from_the_document_alone_agrees(k: int, blocks: int) -> None:
    indices = np.random.default_rng(blocks * k).integers(0, k, blocks)
    part = Part("w", blocks)
    data = to_words(indices, k)[: stream_size(k, blocks)]
    assert len(data) == stream_size(k, blocks) <= packed_bytes(blocks, index_bits(k)) + 7
    found = RADIX.decoder(k, [part], lambda name: b"")(part, torch.frombuffer(bytearray(data), dtype=torch.uint8))
    assert found.dtype == torch.int32
    assert found.tolist() == indices.tolist() == second_decode(data, blocks, k)


def test_what_is_no_stream_of_so_many_digits_is_refused() -> None:
    part = Part("w", 4)
    decode = RADIX.decoder(3, [part], lambda name: b"")
    with pytest.raises(FormatError, match="2 bytes of indices where 1 belong"):
        decode(part, torch.zeros(2, dtype=torch.uint8))
    with pytest.raises(FormatError, match="no number of 5 digits of base 3"):
        from_words(torch.tensor([243], dtype=torch.uint8), 3)
    with pytest.raises(FormatError, match="a digit behind the last index is not zero"):
        decode(part, torch.tensor([81], dtype=torch.uint8))
