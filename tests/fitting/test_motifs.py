import numpy as np
from blocks import mixture

from momos_compress.fitting.motifs import distinct_blocks, fit_motifs, sample_size


def test_a_constant_or_all_zero_tensor_is_no_trouble() -> None:
    assert fit_motifs(np.zeros((100, 4), np.float32), 10, seed=0).tolist() == [[0, 0, 0, 0]]
    constant = fit_motifs(np.full((100, 4), 0.5, np.float32), 10, seed=0)
    assert constant.tolist() == [[0] * 4, [0.5] * 4]


def test_without_the_zero_motif_all_k_are_fitted() -> None:
    motifs = fit_motifs(mixture(5000, 4), 16, seed=0, zero_motif=False)
    assert len(motifs) == 16
    assert motifs.any(axis=1).all()


def test_distinct_blocks_counts_both_zeros_as_one() -> None:
    blocks = np.array([[0.0, 1.0], [-0.0, 1.0], [2.0, 3.0]], dtype=np.float32)
    found = distinct_blocks(blocks, 2)
    assert found is not None
    assert len(found) == 2
    assert distinct_blocks(blocks, 1) is None


def test_the_sample_is_bounded_below_and_by_the_blocks() -> None:
    assert sample_size(67_084, 670) == 67_084
    assert sample_size(6_375_728, 63_757) == 32 * 63_757
    assert sample_size(10**8, 16) == 2**18
    # Half as many where a fit moves the motifs on, from where an iteration is costly.
    assert sample_size(6_375_728, 63_757, start=True) == 16 * 63_757
    assert sample_size(67_084, 670, start=True) == 67_084
    assert sample_size(10**8, 2**14 + 1, start=True) == 2**33 // (2**14 + 1)
