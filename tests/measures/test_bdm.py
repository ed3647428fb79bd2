import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momos_compress import MomosError
from momos_compress.measures.bdm import (
    WINDOW,
    bdm_and_entropy,
    bdm_of_counts,
    bdm_range,
    matrix_bdm,
    qubd,
    sign_bdm,
    windowed_bdm,
)
from momos_compress.measures.bits import CHUNK, BlockHistogram, sign_histogram
from momos_compress.measures.ctm import matrix_complexities, read_table, string_complexities, table_path
from momos_compress.measures.planes import matrix_codes, sign_matrix_histogram

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


# pybdm 0.1.0's BDM(ndim=2).bdm(x), for x = numpy.random.default_rng(seed).random((m, n)) < p.
PYBDM_2D = {
    (0, 4, 4, 0.5): 33.5529042892653,
    (1, 5, 7, 0.5): 28.709000240096074,
    (2, 8, 4, 0.1): 46.61132769714038,
    (3, 12, 20, 0.5): 452.86739368663245,
    (4, 100, 36, 0.3): 6345.356904622587,
    (5, 257, 130, 0.5): 61143.953200609205,
    (6, 64, 576, 0.45): 68331.47565693624,
    (7, 16, 16, 0.0): 26.006706292292176,
    (8, 9, 13, 1.0): 24.591668793013334,
}


@pytest.mark.parametrize(("seed", "m", "n", "p"), list(PYBDM_2D))
def test_matrices_are_equal_to_pybdm(seed: int, m: int, n: int, p: float) -> None:
    bits = np.random.default_rng(seed).random((m, n)) < p
    for form in (bits, bits.astype(np.int64), torch.from_numpy(bits), torch.from_numpy(bits.astype(np.float32))):
        assert matrix_bdm(form) == pytest.approx(PYBDM_2D[seed, m, n, p], rel=1e-9)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_matrix_blocks_are_those_of_a_plain_loop(m: int, n: int, seed: int) -> None:
    bits = np.random.default_rng(seed).random((m, n)) < 0.4
    expected = []
    for i in range(0, m - 3, 4):
        for j in range(0, n - 3, 4):
            expected.append(int("".join("01"[b] for b in bits[i : i + 4, j : j + 4].reshape(-1).astype(int)), 2))
    assert sorted(matrix_codes(bits).tolist()) == sorted(expected)


@pytest.mark.parametrize("shape", [(3, 100), (100, 3), (0, 8), (8, 0)])
def test_matrices_with_a_side_under_four_have_no_block(shape: tuple[int, int]) -> None:
    assert matrix_bdm(np.ones(shape, dtype=bool)) == 0
    if 0 not in shape:
        assert qubd(torch.ones(shape), 3) == (0, 0, 0)


@pytest.mark.parametrize(
    ("bits", "message"),
    [(np.ones(12), r"two dimensions, not the shape \[12\]"), (np.full((4, 4), 2), "other values than 0 and 1")],
)
def test_what_is_no_matrix_of_bits_is_refused(bits: np.ndarray, message: str) -> None:
    with pytest.raises(MomosError, match=message):
        matrix_bdm(bits)


# pybdm's values of each plane, for w = default_rng(seed).standard_normal((m, n)) in float32, quantised by numpy.
PYBDM_PLANES = {
    (0, 20, 30): (1026.6065993660904, 1044.4806566938241, 1045.6605718494334, 1067.1946233471476, 1066.8891867284667,
                  1046.5257661242163, 1069.4376713003658, 1069.369501927774),
    (1, 64, 27): (2883.5010480862834, 2897.472426177652, 2887.4403741584833, 2917.6335150875107),
    (2, 16, 16): (482.08035241806283,),
}  # fmt: skip


@pytest.mark.parametrize(("seed", "m", "n"), list(PYBDM_PLANES))
def test_planes_are_equal_to_pybdm_most_significant_first(seed: int, m: int, n: int) -> None:
    expected = PYBDM_PLANES[seed, m, n]
    weight = torch.from_numpy(np.random.default_rng(seed).standard_normal((m, n)).astype(np.float32))
    assert qubd(weight, len(expected)) == pytest.approx(expected, rel=1e-9)
    # A convolution's trailing dimensions are one; its layout in memory does not matter.
    conv = weight.reshape(m, -1, 1, n // 10 or 1) if n % 10 == 0 else weight.reshape(m, 1, n, 1)
    assert qubd(conv, len(expected)) == qubd(weight, len(expected)) == qubd(weight.T.contiguous().T, len(expected))


@pytest.mark.parametrize("planes", [1, 2, 7, 8, 9, 16])
@pytest.mark.parametrize("percentile", [None, 99.9, 90.0])
def test_planes_follow_the_definition(planes: int, percentile: float | None) -> None:
    values = np.random.default_rng(planes).standard_t(3, (61, 45))
    low, high = values.min(), values.max()
    if percentile is not None:
        low, high = np.percentile(values, [100 - percentile, percentile])
    codes = np.rint((np.clip(values, low, high) - low) / (high - low) * (2**planes - 1)).astype(int)
    found = qubd(torch.from_numpy(values), planes, percentile)
    for plane, bdm in enumerate(found):
        assert bdm == pytest.approx(matrix_bdm((codes >> (planes - 1 - plane)) & 1), rel=1e-12)


def test_a_weight_wider_than_a_chunk_is_measured_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(50, 999, generator=torch.Generator().manual_seed(1))
    whole = qubd(weight), sign_matrix_histogram(weight).tolist()
    for chunk in (32, 1000, 7777):
        monkeypatch.setattr("momos_compress.measures.planes.CHUNK", chunk)
        assert (qubd(weight), sign_matrix_histogram(weight).tolist()) == whole


def test_a_constant_weight_has_the_simplest_planes() -> None:
    assert qubd(torch.full((8, 8), 3.0), 2) == (matrix_bdm(np.zeros((8, 8))),) * 2


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_values_without_a_range_are_refused(bad: float) -> None:
    weight = torch.zeros(8, 8)
    weight[1, 2] = bad
    with pytest.raises(MomosError, match="NaN or infinite"):
        qubd(weight)


@pytest.mark.parametrize(
    ("weight", "planes", "percentile", "message"),
    [
        (torch.zeros(8), 8, None, r"shape \[8\].*two dimensions"),
        (torch.zeros(8, 8), 0, None, "1 to 16, not 0"),
        (torch.zeros(8, 8), 17, None, "1 to 16, not 17"),
        (torch.zeros(8, 8), 8, 50.0, "above 50"),
        (torch.zeros(8, 8), 8, 100.1, "above 50"),
    ],
)
def test_impossible_planes_are_refused(
    weight: torch.Tensor, planes: int, percentile: float | None, message: str
) -> None:
    with pytest.raises(MomosError, match=message):
        qubd(weight, planes, percentile)


PYBDM_WINDOWS = 16161.997798523196
"""pybdm's BDM(ndim=1) of the bits below, summed over their first two pieces of 3,072 bits."""


def test_windows_are_measured_one_by_one_as_pybdm_does() -> None:
    bits = np.random.default_rng(9).random(12 * 700 + 5) < 0.48
    tensor = torch.from_numpy(np.where(bits, 1.0, -1.0))
    assert windowed_bdm(tensor) == pytest.approx(PYBDM_WINDOWS, rel=1e-9)  # two whole windows; 188 blocks are dropped
    assert windowed_bdm([tensor, tensor]) == pytest.approx(2 * PYBDM_WINDOWS, rel=1e-9)
    assert windowed_bdm(torch.ones(12 * WINDOW - 1)) == 0


def test_windows_do_not_depend_on_chunks() -> None:
    tensor = torch.randn(CHUNK + 12 * 300, generator=torch.Generator().manual_seed(0))
    windows = [sign_bdm(piece) for piece in torch.split(tensor, 12 * WINDOW) if len(piece) == 12 * WINDOW]
    assert len(windows) == 1025
    assert windowed_bdm(tensor) == pytest.approx(sum(windows), rel=1e-12)


@pytest.mark.parametrize("blocks", [1, 2, 5, 4096, 4097, 9000])
def test_the_range_is_reached_and_never_passed(blocks: int) -> None:
    table = string_complexities()
    low, high = bdm_range(blocks, table)
    counts = np.zeros(4096, dtype=np.int64)
    counts[int(table.argmin())] = blocks
    assert bdm_of_counts(counts, table) == pytest.approx(low, rel=1e-12)
    order = np.argsort(-table, kind="stable")
    even = np.bincount(order[np.arange(blocks) % 4096], minlength=4096)
    assert bdm_of_counts(even, table) == pytest.approx(high, rel=1e-12)
    rng = np.random.default_rng(blocks)
    for _ in range(20):
        some = np.bincount(rng.integers(0, rng.integers(1, 4097), blocks), minlength=4096)
        assert low <= bdm_of_counts(some, table) <= high
    assert bdm_range(0, table) == (0, 0)


def test_entropy_of_blocks() -> None:
    def entropy(counts: np.ndarray) -> float:
        return bdm_and_entropy(counts, np.ones(len(counts)))[1]

    assert entropy(np.array([4, 4, 0, 4, 4])) == 2
    assert entropy(np.array([7, 0])) == 0
    assert bdm_and_entropy(np.zeros(4, dtype=np.int64), np.ones(4)) == (0, 0)
    counts = np.random.default_rng(0).integers(0, 9, 4096)
    assert entropy(counts) == pytest.approx(scipy.stats.entropy(counts, base=2), rel=1e-12)


def test_the_table_of_matrices_is_complete_and_read_by_rows() -> None:
    values = matrix_complexities()
    assert values.shape == (65536,)
    assert np.array_equal(values, values[::-1])
    table = read_table(table_path("ctm-b2-d4x4"))[(4, 4)]
    assert len(table) == 32768
    assert all(values[int(key, 2)] == bits for key, bits in table.items())
