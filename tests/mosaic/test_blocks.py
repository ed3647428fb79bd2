import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from momos_compress import MomosError
from momos_compress.mosaic import blocks as blocks_module
from momos_compress.mosaic.blocks import (
    FLAT,
    check_block_size,
    check_motif_count,
    count_blocks,
    iter_blocks,
    motifs_for_capacity,
)


def test_blocks_run_row_major_and_the_padding_is_zero() -> None:
    tensor = torch.arange(1.0, 7.0).reshape(2, 3)
    (blocks,) = iter_blocks(tensor, 4)
    assert blocks.dtype == np.float32
    assert blocks.tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]


def test_a_transposed_view_is_cut_in_its_own_row_major_order() -> None:
    (blocks,) = iter_blocks(torch.arange(6.0).reshape(2, 3).T, 3)
    assert blocks.tolist() == [[0, 3, 1], [4, 2, 5]]


@given(
    st.lists(st.integers(1, 5), min_size=0, max_size=3),
    st.sampled_from([1, 2, 3, 4, 7, 64]),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    st.integers(0, 2**31),
)
def test_cutting_is_undone_exactly(shape: list[int], s: int, dtype: torch.dtype, seed: int) -> None:
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    pieces = [torch.from_numpy(piece.copy()) for piece in iter_blocks(tensor, s)]
    assert sum(len(piece) for piece in pieces) == count_blocks(tensor.numel(), s)
    assert torch.equal(FLAT.join(torch.cat(pieces), tuple(shape)).to(dtype), tensor)


@pytest.mark.parametrize("s", [1, 3, 4, 64])
def test_pieces_of_a_large_tensor_join_without_a_seam(s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "CHUNK_VALUES", 100)
    tensor = torch.randn(1001, generator=torch.Generator().manual_seed(0))
    pieces = list(iter_blocks(tensor, s))
    assert len(pieces) > 5
    assert torch.equal(FLAT.join(torch.from_numpy(np.concatenate(pieces)), (1001,)), tensor)


@pytest.mark.parametrize(("value", "index"), [(float("nan"), (1, 2)), (float("inf"), (0, 0)), (float("-inf"), (2, 1))])
def test_a_value_that_is_not_finite_is_told_by_its_index(value: float, index: tuple[int, int]) -> None:
    tensor = torch.zeros(3, 4)
    tensor[index] = value
    with pytest.raises(MomosError, match=rf"{value} at index \[{index[0]}, {index[1]}\]; .*`exclude`"):
        list(iter_blocks(tensor, 4))


def test_the_index_is_right_beyond_the_first_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "CHUNK_VALUES", 8)
    tensor = torch.zeros(10, 3)
    tensor[9, 1] = float("nan")
    with pytest.raises(MomosError, match=r"index \[9, 1\]"):
        list(iter_blocks(tensor, 4))


def test_a_float64_value_beyond_float32_is_refused() -> None:
    with pytest.raises(MomosError, match=r"inf at index \[0, 1\]"):
        list(iter_blocks(torch.tensor([[1.0, 1e300]], dtype=torch.float64), 2))


@pytest.mark.parametrize(
    ("c", "blocks", "k"), [(0.01, 6_389_207, 63_892), (0.01, 99, 1), (1.0, 7, 7), (0.5, 1, 1), (0.29, 100, 28)]
)
def test_capacity_gives_the_papers_k(c: float, blocks: int, k: int) -> None:
    assert motifs_for_capacity(c, blocks) == k


@pytest.mark.parametrize("c", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_capacity_out_of_range_is_refused(c: float) -> None:
    with pytest.raises(MomosError, match=r"must lie in \(0, 1\]"):
        motifs_for_capacity(c, 10)


@pytest.mark.parametrize("s", [0, -1, 65])
def test_a_block_size_out_of_range_is_refused(s: int) -> None:
    with pytest.raises(MomosError, match=r"1\.\.64"):
        check_block_size(s)


def test_the_limit_of_motifs_is_told() -> None:
    check_motif_count(2**24)
    with pytest.raises(MomosError, match=r"2\^24"):
        check_motif_count(2**24 + 1)
