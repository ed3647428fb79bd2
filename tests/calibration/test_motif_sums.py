"""Sums over the blocks of each motif, against the same in double precision."""

import pytest
import torch

from momos_compress.calibration.kernels import available
from momos_compress.calibration.kernels.sums import add_blocks, add_squares

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("with_numba", [True, False])
@pytest.mark.parametrize(("groups", "rows", "blocks", "s", "k"), [(1, 40, 6, 4, 9), (5, 1, 3, 2, 1), (2, 3, 5, 1, 300)])
def test_each_motif_gets_its_own_blocks(
    with_numba: bool, groups: int, rows: int, blocks: int, s: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(available, "numba_loads", lambda: with_numba)
    indices = torch.randint(0, k, (groups, rows, blocks), dtype=torch.int32)
    values, weights = torch.randn(groups, rows, blocks * s), torch.rand(groups, rows)
    moments = torch.randn(groups, blocks * s, blocks * s)
    sums, squares = torch.randn(k, s), torch.randn(k, s * s)
    expected, squared = sums.double(), squares.double()
    for g in range(groups):
        for row in range(rows):
            for j, motif in enumerate(indices[g, row].tolist()):
                at = slice(j * s, j * s + s)
                expected[motif] += weights[g, row].double() * values[g, row, at].double()
                squared[motif] += weights[g, row].double() * moments[g, at, at].reshape(-1).double()
    add_blocks(sums, indices, values, weights)
    add_squares(squares, indices, moments, weights)
    torch.testing.assert_close(sums.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(squares.double(), squared, rtol=1e-5, atol=1e-5)
