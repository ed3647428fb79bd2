import contextlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader import ans as second_decode
from second_reader import ans_words as second_encode
from second_reader import bounds as second_bounds
from second_reader import counts as second_counts

from momos_compress import FormatError
from momos_compress.coding.counts import read_counts, store_counts
from momos_compress.coding.index_model import IndexModel, frequencies, least_words


def falling(draw: np.random.Generator, k: int, *, tail: float = 1.5, size: float = 50) -> np.ndarray:
    """Usage like that of a fitted codebook, most used first."""
    return np.sort(np.minimum(draw.pareto(tail, size=k) * size, 10**9).astype(np.int64) + 1)[::-1]


def draw_indices(draw: np.random.Generator, usage: np.ndarray, count: int) -> np.ndarray:
    return draw.choice(len(usage), size=count, p=usage / usage.sum()).astype(np.uint16)


# Golden bytes: what any later version must still write and read.


@pytest.mark.parametrize(
    ("counts", "stored"),
    [
        ([1], "0101"),
        ([1, 1, 1], "0103"),
        ([5, 3, 3, 0], "050102020301"),
        ([300, 2], "ac0201aa0201"),
        ([2**38, 2**37], "80808080800801" + "80808080800401"),
    ],
)
def test_golden_counts(counts: list[int], stored: str) -> None:
    assert read_counts(bytes.fromhex(stored), len(counts)).tolist() == counts
    assert second_counts(bytes.fromhex(stored)) == counts


def test_golden_frequencies() -> None:
    assert frequencies(np.array([1, 1, 1])).tolist() == [5592405, 5592405, 5592406]
    assert frequencies(np.array([3, 1, 0])).tolist() == [12582910, 4194305, 1]
    assert frequencies(np.array([10**11, 1, 1])).tolist() == [2**24 - 3, 1, 2]


@pytest.mark.parametrize(
    ("counts", "indices", "stored"),
    [
        ([3, 1], [0, 1, 0, 0, 1, 1, 0, 1], "42008096"),
        ([1, 1, 1], [2, 0, 1, 2, 2, 0, 1, 0, 2, 1, 1, 0, 2, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 2], "40a5f621d7b9740f"),
        ([2, 1, 1], [0] * 600, "00" * 12),
        ([4, 2, 1, 1], list(range(4)) * 12, "94b6ce4fd2d6f119a0f1839fcc745cb801000000"),
    ],
)
def test_golden_streams(counts: list[int], indices: list[int], stored: str) -> None:
    model = IndexModel(np.array(counts))
    data = model.encode([np.array(indices)], len(indices))
    assert second_decode(data, len(indices), second_bounds(counts)) == indices
    assert model.decode(data, len(indices)).tolist() == indices
    assert data.hex() == stored


# The model is the same everywhere, because nothing of it is rounded.


@pytest.mark.parametrize("k", [2, 3, 256, 257, 5000, 2**16 + 1, 2**20])
@pytest.mark.parametrize("shape", ["pareto", "flat", "one takes all", "zeros"])
def test_frequencies_are_whole_and_fill_24_bits(k: int, shape: str) -> None:
    counts = {
        "pareto": falling(np.random.default_rng(k), k),
        "flat": np.ones(k, dtype=np.int64),
        "one takes all": np.array([2**38, *[1] * (k - 1)]),
        "zeros": np.array([7, *[0] * (k - 1)]),
    }[shape]
    found = frequencies(counts)
    assert found.min() >= 1
    assert found.sum() == 2**24
    assert [0, *np.cumsum(found).tolist()] == second_bounds(counts.tolist())


@given(
    st.sampled_from([2, 3, 4, 255, 256, 257, 1000, 40_000]),
    st.sampled_from([0.3, 1.0, 3.0]),
    st.integers(0, 700),
    st.booleans(),
    st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=80)
def test_plain_integers_write_and_read_the_same_streams(
    k: int, tail: float, blocks: int, uniform: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    usage = np.minimum(falling(draw, k, tail=tail), 10**6)
    indices = draw.integers(0, k, size=blocks) if uniform else draw_indices(draw, usage, blocks)
    model = IndexModel(usage)
    half = blocks // 2
    data = model.encode([indices[half:], indices[:half]], blocks)
    assert data == model.encode([indices], blocks)
    assert data == second_encode(indices.tolist(), second_bounds(usage.tolist()))
    assert len(data) >= 4 * least_words(blocks)
    assert model.decode(data, blocks).tolist() == indices.tolist()
    assert second_decode(data, blocks, second_bounds(usage.tolist())) == indices.tolist()


@pytest.mark.parametrize("k", [674, 60_000, 2**20])
def test_a_stream_is_as_short_as_its_entropy(k: int) -> None:
    draw = np.random.default_rng(0)
    usage = falling(draw, k)
    indices = np.repeat(np.arange(k), usage)
    draw.shuffle(indices)
    indices, blocks = indices[:400_000], min(len(indices), 400_000)
    shares = usage / usage.sum()
    entropy = -float(np.log2(shares[indices]).sum())  # of these indices under the exact shares
    stored = store_counts(usage)
    model = IndexModel(read_counts(stored, k))
    bits = 8 * len(model.encode([indices], blocks))
    assert bits < entropy * {674: 1.0005, 60_000: 1.001, 2**20: 1.01}[k] + 64 + 0.01 * blocks
    assert 8 * len(stored) < 0.02 * 8 * k + 800


def test_counts_are_rounded_where_that_saves_more_than_it_costs() -> None:
    usage = falling(np.random.default_rng(0), 674, size=70)
    exact = b"".join(bytes.fromhex("8101") for _ in set(usage.tolist()))  # at least so many bytes
    stored = store_counts(usage)
    assert len(stored) < len(exact) / 2
    total, shares = int(usage.sum()), usage / usage.sum()
    read = frequencies(read_counts(stored, 674)) / 2**24
    loss = total * float(shares @ np.log2(shares / read))
    assert loss < 8 * len(exact)
    # A hundred times the blocks make a finer rounding worth its bytes.
    assert len(store_counts(100 * usage)) > len(stored)


@given(st.lists(st.integers(0, 2**30), min_size=2, max_size=40).filter(any), st.integers(0, 25))
def test_stored_counts_fall_and_are_near(counts: list[int], shift: int) -> None:
    usage = np.sort(np.array(counts, dtype=np.int64) << min(shift, 10))[::-1]
    found = read_counts(store_counts(usage), len(usage))
    assert (np.diff(found) <= 0).all()
    assert found.sum() < 2**39
    assert len(found) == len(usage)


# Damage


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("", "0 bytes of counts"),
        ("05", "1 bytes"),
        ("0504", "are not those of 3 motifs"),  # one too many
        ("0502", "are not those of 3 motifs"),
        ("0003", "are not those"),  # a first count of zero
        ("0501000102", "are not those"),  # no fall
        ("050102010200", "are not those"),  # no run
        ("05010601" + "0101", "are not those"),  # below zero
        ("050301", "are not those"),  # a fall without its run
        ("0583", "end within a number"),
        ("058300", "too long"),
        ("8080808080800103", "too long"),
        ("80808080800803", "add up to 2"),
        ("05" * 37, "37 bytes of counts"),
    ],
)
def test_damaged_counts(stored: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read_counts(bytes.fromhex(stored), 3)


@pytest.mark.parametrize("k", [2, 300])
def test_a_stream_of_another_length_is_refused(k: int) -> None:
    draw = np.random.default_rng(0)
    usage = falling(draw, k, tail=3)
    indices, model = draw_indices(draw, usage, 1000), IndexModel(usage)
    indices[-1] = 1
    data = model.encode([indices], 1000)
    with pytest.raises(FormatError, match="words of indices where 1,000 blocks take 4 at least"):
        model.decode(data[:12], 1000)
    with pytest.raises(FormatError, match="a zero word behind"):
        model.decode(data + bytes(4), 1000)
    for wrong in (data[:-4], data[4:], data[4:8] + data, data + data[:4]):
        with pytest.raises(FormatError, match="does not end with the last of 1,000 blocks"):
            model.decode(wrong, 1000)
    with pytest.raises(FormatError, match="does not end with"):
        model.decode(data, 999)
    # Behind the last index of any stream stand as many of the first motif as are asked for; the recipe says how many.
    assert model.decode(data, 1001).tolist() == [*indices.tolist(), 0]


@given(st.binary(max_size=60), st.integers(1, 60), st.integers(0, 2**20))
@settings(deadline=None)
def test_no_two_streams_hold_the_same_indices(noise: bytes, blocks: int, seed: int) -> None:
    model = IndexModel(falling(np.random.default_rng(seed), 5))
    data = noise[: len(noise) // 4 * 4]
    try:
        indices = model.decode(data, blocks)
    except FormatError:
        return
    assert model.encode([indices], blocks) == data


def test_every_flipped_bit_is_noticed() -> None:
    draw = np.random.default_rng(0)
    usage = falling(draw, 20)
    indices, model = draw_indices(draw, usage, 300), IndexModel(usage)
    data = model.encode([indices], 300)
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(FormatError):
            assert model.decode(bytes(damaged), 300).tolist() != indices.tolist()


def test_blocks_of_one_motif_take_a_word_for_256() -> None:
    model = IndexModel(np.array([10**6, 1]))
    for blocks in (1, 256, 257, 10_000):
        data = model.encode([np.zeros(blocks, dtype=np.uint8)], blocks)
        assert data == bytes(4 * math.ceil(blocks / 256))
        assert not model.decode(data, blocks).any()
