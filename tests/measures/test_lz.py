"""LZ complexity against the definition, written out over strings."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momos_compress.measures.lz import LZ_WINDOW, phrase_counts
from momos_compress.measures.one_pass import measure
from momos_compress.measures.settings import MeasureSettings


def phrases_of(text: str) -> int:
    """Kaspar and Schuster's count: each phrase is the shortest that does not occur in what goes before its last bit."""
    count = start = 0
    while start < len(text):
        length = 1
        while start + length <= len(text) and text[start : start + length] in text[: start + length - 1]:
            length += 1
        count, start = count + 1, start + length
    return count


def lz(weights: torch.Tensor) -> float | None:
    return measure([("w", weights)], MeasureSettings(planes=1, rates="none", also=("lz",))).total.value("lz")


def test_the_example_of_the_literature() -> None:
    assert phrases_of("0001101001000101") == 6  # Lempel and Ziv 1976: 0.001.10.100.1000.101
    assert phrases_of("0" * 40) == 2


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3), st.integers(1, 40))
@settings(deadline=None, max_examples=60)
def test_phrases_are_those_of_the_definition(numbers: list[int], period: int) -> None:
    text = "".join(f"{number:064b}" for number in numbers)
    repeated = (text[:period] * len(text))[: len(text)]
    rows = np.array([[bit == "1" for bit in each] for each in (text, repeated, text[::-1])])
    assert phrase_counts(rows).tolist() == [phrases_of(text), phrases_of(repeated), phrases_of(text[::-1])]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_windows_of_every_kind(share: float) -> None:
    bits = np.random.default_rng(3).random((40, LZ_WINDOW)) < share
    expected = [phrases_of("".join("01"[int(bit)] for bit in row)) for row in bits]
    assert phrase_counts(bits).tolist() == expected
    weights = torch.from_numpy(np.where(bits, 1.0, -1.0))
    rest = torch.ones(LZ_WINDOW - 1)
    assert lz(torch.cat([weights.reshape(-1), rest])) == sum(expected) * math.log2(LZ_WINDOW)


def test_a_tensor_smaller_than_a_window_has_none() -> None:
    assert lz(torch.ones(LZ_WINDOW - 1)) is None
    assert lz(torch.ones(LZ_WINDOW)) == 2 * math.log2(LZ_WINDOW)


def test_more_windows_than_are_parsed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.randn(11 * LZ_WINDOW, generator=torch.Generator().manual_seed(0))
    whole = lz(weights)
    monkeypatch.setattr("momos_compress.measures.lz._BATCH", 3)
    assert lz(weights) == whole


def test_random_signs_take_a_little_more_bits_than_there_are() -> None:
    count = 200 * LZ_WINDOW
    found = lz(torch.randn(count, generator=torch.Generator().manual_seed(0)))
    assert found is not None
    assert 1.0 < found / count < 1.1
