import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momos_compress.bdm import sign_bdm
from momos_compress.bits import BlockHistogram, sign_histogram
from momos_compress.ctm import read_table, string_complexities, table_path

# pybdm 0.1.0's own output, BDM(ndim=1).bdm(x), for x = numpy.random.default_rng(seed).random(n) < p.
PYBDM = {
    (0, 12, 0.5): 33.39177346116638,
    (1, 13, 0.5): 31.54849896485383,
    (2, 120, 0.5): 328.7618824683471,
    (3, 1000, 0.5): 2698.705566978216,
    (4, 5000, 0.1): 3399.92685180767,
    (5, 100000, 0.5): 119326.17157851617,
    (6, 100007, 0.45): 114399.49846120983,
    (7, 24, 0.0): 26.610413747641715,
    (8, 2400, 1.0): 33.25426993741644,
}


def weights(seed: int, n: int, p: float) -> torch.Tensor:
    """Weights whose sign bits are pybdm's input; zeros and negative zeros stand for 0 too."""
    bits = np.random.default_rng(seed).random(n) < p
    return torch.from_numpy(np.where(bits, 0.25, np.resize([-1.0, 0.0, -0.0], n)))


@pytest.mark.parametrize(("seed", "n", "p"), list(PYBDM))
def test_equal_to_pybdm(seed: int, n: int, p: float) -> None:
    assert sign_bdm(weights(seed, n, p)) == pytest.approx(PYBDM[seed, n, p], rel=1e-9)


@pytest.mark.parametrize("cuts", [[5], [12, 13], [1, 2, 3, 50_000, 99_999], list(range(0, 100_007, 997))])
def test_pieces_are_measured_as_their_concatenation(cuts: list[int]) -> None:
    whole = weights(6, 100_007, 0.45)
    pieces = torch.tensor_split(whole, cuts)
    assert sign_bdm(iter(pieces)) == sign_bdm(whole) == pytest.approx(PYBDM[6, 100_007, 0.45], rel=1e-9)


@given(st.lists(st.lists(st.booleans(), max_size=60), max_size=6))
@settings(deadline=None)
def test_the_histogram_counts_each_whole_block_once(pieces: list[list[bool]]) -> None:
    histogram = BlockHistogram()
    for piece in pieces:
        histogram.add(np.array(piece, dtype=bool))
    joined = [bit for piece in pieces for bit in piece]
    expected = np.zeros(4096, dtype=np.int64)
    for i in range(0, len(joined) - 11, 12):
        expected[int("".join("01"[bit] for bit in joined[i : i + 12]), 2)] += 1
    assert np.array_equal(histogram.counts(), expected)


def test_fewer_than_twelve_weights_have_no_block() -> None:
    assert sign_bdm(torch.ones(11)) == 0
    assert sign_bdm([]) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_and_layout_do_not_matter(dtype: torch.dtype) -> None:
    tensor = torch.randn(60, 50, generator=torch.Generator().manual_seed(0))
    assert sign_bdm(tensor.to(dtype)) == sign_bdm(tensor)
    assert sign_bdm(tensor.T.contiguous().T) == sign_bdm(tensor)


def test_the_table_covers_all_strings_and_complements_share_a_value() -> None:
    values = string_complexities()
    assert values.shape == (4096,)
    assert np.array_equal(values, values[::-1])
    table = read_table(table_path("ctm-b2-d12"))[(12,)]
    assert all(values[int(key, 2)] == bits for key, bits in table.items())
    assert values[0] == pytest.approx(25.610413747641715)


def test_every_string_once_gives_the_sum_of_the_table() -> None:
    codes = np.arange(4096)
    bits = (codes[:, None] >> np.arange(11, -1, -1)) & 1
    signs = torch.from_numpy(2.0 * bits.reshape(-1) - 1)
    assert np.array_equal(sign_histogram([signs]), np.ones(4096))
    assert sign_bdm(signs) == pytest.approx(string_complexities().sum(), rel=1e-12)
