"""Compiled loops against the torch code beside them, and against brute force in double precision."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from fit_states import positive

from momos_compress.calibration.damping import damped
from momos_compress.calibration.descent import descend
from momos_compress.calibration.greedy import assign_greedily
from momos_compress.calibration.kernels import available, passes
from momos_compress.calibration.kernels.available import compiled, numba_loads
from momos_compress.calibration.search import MotifSearch

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(1, 24, 72, 4), (3, 7, 24, 2), (20, 1, 12, 4), (1, 20, 150, 1), (2, 5, 24, 3), (1, 12, 280, 8), (2, 3, 20, 5)]


def layer(groups: int, rows: int, width: int, s: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and second moments."""
    moments, _ = damped(positive(groups, width), s)
    return torch.randn(groups, rows, width), moments.contiguous()


def on_both(run: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.Tensor]:
    """What a function gives compiled, and in torch."""
    assert compiled(torch.empty(0))
    yield run()  # type: ignore[operator]
    monkeypatch.setattr(available, "numba_loads", lambda: False)
    yield run()  # type: ignore[operator]


def cost(
    targets: torch.Tensor, indices: torch.Tensor, moments: torch.Tensor, search: MotifSearch, price: float
) -> float:
    error = targets.double() - search.codebook.double()[indices.long()].reshape(targets.shape)
    bits = float(search.bits.double()[indices.long()].sum())
    return float(((error @ moments.double()) * error).sum()) + price * bits


def drawn(k: int, s: int) -> MotifSearch:
    """A codebook of which some motifs are there twice, and cost as much."""
    book, bits = torch.randn(k, s), 12 * torch.rand(k)
    twice = torch.arange(k // 4)
    book[k - 1 - twice], bits[k - 1 - twice] = book[twice], bits[twice]
    return MotifSearch(book, bits)


@pytest.mark.parametrize("price", [0.0, 0.02])
@pytest.mark.parametrize("k", [1, 2, 300, 9000])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_give_the_same_mosaic(
    shape: tuple[int, int, int, int], k: int, price: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, rows, _, s = shape
    targets, moments = layer(*shape)
    search, weight = drawn(k, s), torch.full((groups, rows), price)
    alone = list(on_both(lambda: search.independent(targets, weight), monkeypatch))
    monkeypatch.undo()
    greedy = list(on_both(lambda: assign_greedily(targets, moments, search, weight), monkeypatch))
    monkeypatch.undo()
    better = list(on_both(lambda: descend(targets, greedy[1], moments, search, weight), monkeypatch))
    for ours, theirs in (alone, greedy, better):
        assert ours.dtype == theirs.dtype == torch.int32
        assert ours.shape == theirs.shape
        costs = [cost(targets, indices, moments, search, price) for indices in (ours, theirs)]
        same = (ours == theirs).flatten(end_dim=1).all(dim=1).float().mean()
        # Of two motifs that cost the same but for rounding either may be taken, and moves what comes after it.
        assert same > 0.7
        assert costs[0] == pytest.approx(costs[1], rel=1e-5 if bool(same == 1) else 0.02)


@pytest.mark.parametrize("price", [0.0, 0.3])
@pytest.mark.parametrize(("s", "k"), [(1, 64), (2, 300), (3, 33), (4, 5000), (8, 1025)])
def test_each_block_by_itself_has_the_motif_that_brute_force_finds(s: int, k: int, price: float) -> None:
    search, targets = drawn(k, s), 1.5 * torch.randn(2, 30, 5 * s)
    weight = price * torch.rand(2, 30)
    found = search.independent(targets, weight).numpy().reshape(-1)
    blocks, book = targets.double().numpy().reshape(-1, 1, s), search.codebook.double().numpy()
    each = weight.double().numpy().reshape(-1, 1).repeat(5, axis=0)
    costs = np.square(blocks - book).sum(axis=2) + each * search.bits.double().numpy()
    least = np.sort(np.unique(costs.round(12), axis=1) if False else costs, axis=1)
    chosen = np.take_along_axis(costs, found[:, None].astype(np.int64), axis=1)[:, 0]
    assert (chosen <= least[:, 0] + 1e-5).all()
    clear = (costs <= costs.min(axis=1, keepdims=True) + 1e-5).sum(axis=1) == (
        costs == costs.min(axis=1, keepdims=True)
    ).sum(axis=1)
    assert clear.mean() > 0.9
    assert (found == costs.argmin(axis=1))[clear].all()  # of equal ones the first


def test_a_pass_of_descent_is_the_one_by_brute_force() -> None:
    targets, moments = layer(2, 5, 24, 4)
    search, weight, price = drawn(200, 4), torch.full((2, 5), 0.05), 0.05
    start = search.independent(targets, weight)
    found = descend(targets, start, moments, search, weight)
    book, bits = search.codebook.double().numpy(), search.bits.double().numpy()
    for g in range(2):
        whole = moments[g].double().numpy()
        for row in range(5):
            indices = start[g, row].numpy().copy()
            for j in range(6):
                costs = []
                for m in range(200):
                    indices[j] = m
                    error = targets[g, row].double().numpy() - book[indices].reshape(-1)
                    costs.append(error @ whole @ error + price * bits[m])
                indices[j] = int(np.argmin(np.round(costs, 9)))
            assert indices.tolist() == found[g, row].tolist()


@pytest.mark.parametrize("spread", [1e-4, 1e4])
def test_far_and_near_motifs_are_found_whatever_their_size(spread: float) -> None:
    search = MotifSearch(spread * torch.randn(3000, 4) + 5 * spread, torch.zeros(3000))
    targets = search.codebook[torch.randint(0, 3000, (1, 40, 3))].reshape(1, 40, 12)
    found = search.independent(targets, torch.zeros(1, 40))
    assert torch.equal(search.codebook[found.long()].reshape(targets.shape), targets)


def test_threads_change_nothing() -> None:
    targets, moments = layer(3, 11, 48, 4)
    search, weight = drawn(700, 4), torch.full((3, 11), 0.01)
    found = []
    for count in (1, 3):
        torch.set_num_threads(count)
        greedy = assign_greedily(targets, moments, search, weight)
        found.append((greedy, descend(targets, greedy, moments, search, weight)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_values_that_are_not_finite_give_some_motif() -> None:
    targets, moments = layer(1, 6, 24, 4)
    targets[0, 2, 5], targets[0, 3, 1] = float("nan"), float("inf")
    search, weight = drawn(500, 4), torch.zeros(1, 6)
    for found in (search.independent(targets, weight), assign_greedily(targets, moments, search, weight)):
        assert 0 <= int(found.min()) <= int(found.max()) < 500


def test_threads_are_those_of_torch() -> None:
    assert numba_loads()
    assert passes.threads() == torch.get_num_threads() == 1
