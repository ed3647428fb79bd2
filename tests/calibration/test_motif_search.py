"""Of the motifs of a codebook the one that costs a block least."""

import numpy as np
import pytest
import torch
from fit_states import small_state, untold

from momos_compress.calibration import search
from momos_compress.calibration.alternation import first_pass, improve
from momos_compress.calibration.kernels import available
from momos_compress.calibration.search import Rate, cheapest, cheapest_near, neighbours_of

pytestmark = pytest.mark.usefixtures("one_thread")


def costs(points: torch.Tensor, motifs: torch.Tensor, price: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    gaps = (points.double()[:, :, None] - motifs.double()[:, None]).square().sum(dim=3)
    return gaps + weight.double()[:, :, None] * price.double()


@pytest.mark.parametrize("k", [1, 2, 3, 256, 257])
@pytest.mark.parametrize(("groups", "n", "s"), [(1, 300, 4), (5, 40, 4), (3, 1, 9), (2, 33, 1)])
def test_the_cheapest_motif_costs_least(k: int, groups: int, n: int, s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 1000)
    points, motifs = torch.randn(groups, n, s), torch.randn(groups, k, s)
    price, weight = 10 * torch.rand(k), torch.rand(groups, n)
    found = cheapest(points, motifs, price, weight)
    assert found.shape == (groups, n)
    assert found.dtype == torch.int64
    exact = costs(points, motifs, price, weight)
    assert bool((exact.gather(2, found[:, :, None])[:, :, 0] <= exact.min(dim=2).values + 1e-5).all())


def test_of_equal_motifs_the_first_is_taken_and_of_equal_distances_the_shorter_name() -> None:
    motifs = torch.tensor([[[1.0, 0], [-1, 0], [1, 0], [0, 3]]])
    points = torch.tensor([[[0.0, 0], [0.9, 0], [0, 2.9]]])
    even = cheapest(points, motifs, torch.ones(4), torch.ones(1, 3))
    assert even.tolist() == [[0, 0, 3]]
    priced = cheapest(points, motifs, torch.tensor([3.0, 1, 2, 1]), torch.full((1, 3), 0.1))
    assert priced.tolist() == [[1, 2, 3]]
    assert cheapest(points, motifs, torch.tensor([3.0, 1, 2, 9]), torch.full((1, 3), 100.0)).tolist() == [[1, 1, 1]]


def test_near_motifs_are_never_worse_than_the_one_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CHUNK", 5000)
    groups, n, k, s = 3, 200, 64, 4
    points, motifs = torch.randn(groups, n, s), torch.randn(k, s)
    metric = torch.randn(groups, s, s)
    price, weight = 5 * torch.rand(k), torch.rand(groups, n)
    current = torch.randint(0, k, (groups, n))
    neighbours = torch.cdist(motifs, motifs).topk(8, largest=False).indices
    found = cheapest_near(points, motifs @ metric, price, weight, current, neighbours)
    exact = costs(points, motifs @ metric, price, weight)
    before, after = (exact.gather(2, choice[:, :, None]) for choice in (current, found))
    assert bool((after <= before + 1e-5).all())
    among = exact.gather(2, neighbours[current])
    assert bool((after[:, :, 0] <= among.min(dim=2).values + 1e-5).all())
    assert bool((neighbours[current] == found[:, :, None]).any(dim=2).all())


def test_of_equal_near_motifs_the_first_is_taken() -> None:
    motifs = torch.tensor([[[1.0, 0], [2, 0], [1, 0], [1, 0]]])
    neighbours = torch.tensor([[3, 2, 0], [2, 1, 3], [0, 1, 2], [3, 1, 2]])
    found = cheapest_near(
        torch.ones(1, 4, 2), motifs, torch.ones(4), torch.ones(1, 4), torch.arange(4)[None], neighbours
    )
    assert found.tolist() == [[0, 2, 0, 2]]


@pytest.mark.parametrize("with_faiss", [True, False])
def test_neighbours_are_the_nearest_and_hold_the_motif_itself(
    with_faiss: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_faiss:
        monkeypatch.setattr(search, "load_faiss", lambda: None)
    monkeypatch.setattr(search, "CANDIDATES", 5)
    fit = small_state(k=300)
    monkeypatch.setattr(search, "ALL_MOTIFS", 299)
    near = neighbours_of(fit.codebook)
    assert near is not None
    assert near.shape == (300, 5)
    assert bool((near == torch.arange(300)[:, None]).any(dim=1).all())
    gaps = (fit.codebook.double()[:, None] - fit.codebook.double()).square().sum(dim=2)
    assert neighbours_of(fit.codebook[:299]) is None  # few enough to look at all of them
    worst = gaps.gather(1, near).max(dim=1).values
    assert bool((worst <= gaps.topk(5, largest=False).values[:, -1] + 1e-5).all())


@pytest.mark.parametrize("all_motifs", [1, 10**9])
def test_groups_in_pieces_give_what_they_give_at_once(all_motifs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "numba_loads", lambda: False)
    monkeypatch.setattr(search, "ALL_MOTIFS", all_motifs)
    monkeypatch.setattr(search, "CANDIDATES", 8)
    found = []
    for chunk in (1, 2**23):
        monkeypatch.setattr(search, "CHUNK", chunk)
        fit = small_state()
        first_pass(fit, untold)
        improve(fit, untold)
        found.append([layer.indices for layer in fit.layers])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_bits_of_motifs_are_those_of_their_share_and_of_the_codebook() -> None:
    rate = Rate.uniform(4, 36.0)
    assert rate.bits.tolist() == [2.0] * 4
    rate = rate.counted(torch.tensor([100, 20, 1, 0]))
    shares = np.array([100.5, 20.5, 1.5, 0.5]) / 123
    assert rate.bits.numpy() == pytest.approx(-np.log2(shares) + np.array([0.36, 1.8, 36, 36]), rel=1e-5)
    assert Rate.uniform(1, 0.0).bits.tolist() == [1.0]
