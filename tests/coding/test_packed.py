import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from momos_compress import FormatError
from momos_compress.coding.packed import index_bits, pack, packed_bytes, unpack


def oracle(indices: list[int], bits: int) -> bytes:
    """Bit packing by one big integer."""
    number = sum(index << (i * bits) for i, index in enumerate(indices))
    return number.to_bytes(-(-len(indices) * bits // 8), "little")


def as_tensor(data: bytes) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())


def test_golden_bytes() -> None:
    assert pack(np.array([0, 1, 2, 3, 4]), bits=3) == b"\x88\x46"
    assert pack(np.array([1, 0, 1]), bits=1) == b"\x05"
    assert pack(np.array([0xABC, 0x123]), bits=12) == b"\xbc\x3a\x12"
    assert pack(np.array([0xFFFFFF, 1]), bits=24) == b"\xff\xff\xff\x01\x00\x00"


@pytest.mark.parametrize(("k", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (256, 8), (257, 9), (2**24, 24)])
def test_index_bits(k: int, bits: int) -> None:
    assert index_bits(k) == bits


@given(st.integers(1, 24), st.data())
def test_packing_matches_one_big_integer_and_is_undone(bits: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))
    packed = pack(np.array(indices, dtype=np.uint32), bits)
    assert packed == oracle(indices, bits)
    assert unpack(as_tensor(packed), len(indices), bits).tolist() == indices


def test_a_long_run_of_wide_indices_is_undone() -> None:
    indices = np.random.default_rng(0).integers(0, 63_892, size=100_003).astype(np.uint16)
    packed = pack(indices, 16)
    assert len(packed) == packed_bytes(len(indices), 16)
    assert np.array_equal(unpack(as_tensor(packed), len(indices), 16).numpy(), indices)


@pytest.mark.parametrize("length", [1, 3])
def test_a_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(FormatError, match=rf"{length} bytes of indices where 2 belong"):
        unpack(torch.zeros(length, dtype=torch.uint8), 5, 3)


@pytest.mark.parametrize(("count", "bits"), [(5, 3), (1, 1), (3, 9)])
def test_a_set_padding_bit_is_refused(count: int, bits: int) -> None:
    packed = as_tensor(pack(np.zeros(count, dtype=np.uint32), bits))
    packed[-1] = 0x80
    with pytest.raises(FormatError, match="padding bit"):
        unpack(packed, count, bits)
