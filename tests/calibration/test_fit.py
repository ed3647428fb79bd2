import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from momos_compress.calibration import fit as fit_module
from momos_compress.calibration.fit import (
    DAMPING,
    Fitter,
    LayerFit,
    Rate,
    cheapest,
    cheapest_near,
    damped,
    feedback,
    normalised,
)
from momos_compress.calibration.statistics import MatrixStore
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import encode_scales, scale_values

pytestmark = pytest.mark.usefixtures("one_thread")


def positive(groups: int, width: int, rank: int | None = None) -> torch.Tensor:
    """Second moments of correlated inputs, as a layer has them."""
    mixing = torch.randn(groups, width, rank or width) * torch.logspace(0, -1.5, rank or width)
    return mixing @ mixing.transpose(1, 2)


def fitter(
    *,
    k: int = 32,
    s: int = 4,
    rate_weight: float = 1.0,
    motif_bits: float = 36.0,
    zero_motif: bool = True,
    seed: int = 0,
    width: int = 24,
    codebook: torch.Tensor | None = None,
) -> Fitter:
    """A correlated layer, a grouped one, and one without moments."""
    torch.manual_seed(seed)
    store, layers = MatrixStore(), []
    for name, groups, rows, correlated in (("dense", 1, 48, True), ("grouped", 4, 10, True), ("table", 1, 60, False)):
        weight = torch.randn(groups * rows, width) * torch.rand(groups * rows, 1)
        scales = encode_scales(weight.square().mean(dim=1).sqrt())
        layout = Layout(groups * rows)
        targets = normalised(weight, layout, scales, groups, s)
        weights = torch.rand(groups, rows) + 0.1
        if correlated:
            store[name], _ = damped(positive(groups, width), s)
        layers.append(LayerFit(name, layout, scales, targets, weights, correlated))
    motifs = torch.randn(k, s) if codebook is None else codebook.clone()
    if zero_motif:
        motifs[0] = 0
    return Fitter(
        layers, store, motifs, rate_weight=rate_weight, motif_bits=motif_bits, zero_motif=zero_motif, device="cpu"
    )


def silent(done: int) -> None:
    pass


def distortion_of(fit: Fitter, codebook: torch.Tensor | None = None) -> float:
    """J without its rate, in double precision and row by row."""
    book = (fit.codebook if codebook is None else codebook).double()
    total = 0.0
    for layer in fit.layers:
        groups, rows, width = layer.targets.shape
        moments = (
            fit.moments[layer.name].double() if layer.correlated else torch.eye(width).double().expand(groups, -1, -1)
        )
        for g in range(groups):
            for row in range(rows):
                error = layer.targets[g, row].double() - book[layer.indices[g, row].long()].reshape(-1)
                total += float(layer.weights[g, row] * (error @ moments[g] @ error))
    return total


# Cheapest motifs


def costs(points: torch.Tensor, motifs: torch.Tensor, price: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    gaps = (points.double()[:, :, None] - motifs.double()[:, None]).square().sum(dim=3)
    return gaps + weight.double()[:, :, None] * price.double()


@pytest.mark.parametrize("branch", ["torch", "faiss", "tree"])
@pytest.mark.parametrize("k", [1, 2, 3, 256, 257])
@pytest.mark.parametrize(("groups", "n", "s"), [(1, 300, 4), (5, 40, 4), (3, 1, 9), (2, 33, 1)])
def test_the_cheapest_motif_costs_least(
    branch: str, k: int, groups: int, n: int, s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "FAISS_FROM", 10**9 if branch == "torch" else 1)
    monkeypatch.setattr(fit_module, "CHUNK", 1000)
    points, motifs = torch.randn(groups, n, s), torch.randn(groups, k, s)
    price, weight = 10 * torch.rand(k), torch.rand(groups, n)
    if branch == "tree":
        weight *= 0
        monkeypatch.setattr(fit_module, "TREE_UP_TO", 9)
        monkeypatch.setattr(fit_module, "load_faiss", lambda: pytest.fail("the tree is not used"))
    found = cheapest(points, motifs, price, weight)
    assert found.shape == (groups, n)
    assert found.dtype == torch.int64
    exact = costs(points, motifs, price, weight)
    assert bool((exact.gather(2, found[:, :, None])[:, :, 0] <= exact.min(dim=2).values + 1e-5).all())


@pytest.mark.parametrize("faiss_from", [1, 10**9])
def test_of_equal_motifs_any_is_the_cheapest_and_of_equal_distances_the_shorter_name(
    faiss_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "FAISS_FROM", faiss_from)
    motifs = torch.tensor([[[1.0, 0], [-1, 0], [1, 0], [0, 3]]])
    points = torch.tensor([[[0.0, 0], [0.9, 0], [0, 2.9]]])
    even = cheapest(points, motifs, torch.ones(4), torch.ones(1, 3))
    assert [int(i) for i in even[0]] in ([0, 0, 3], [1, 0, 3], [2, 0, 3], [0, 2, 3], [1, 2, 3], [2, 2, 3])
    priced = cheapest(points, motifs, torch.tensor([3.0, 1, 2, 1]), torch.full((1, 3), 0.1))
    assert priced.tolist() == [[1, 2, 3]]
    assert cheapest(points, motifs, torch.tensor([3.0, 1, 2, 9]), torch.full((1, 3), 100.0)).tolist() == [[1, 1, 1]]


def test_near_motifs_are_never_worse_than_the_one_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "CHUNK", 5000)
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


@pytest.mark.parametrize("with_faiss", [True, False])
def test_neighbours_are_the_nearest_and_hold_the_motif_itself(
    with_faiss: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not with_faiss:
        monkeypatch.setattr(fit_module, "load_faiss", lambda: None)
    monkeypatch.setattr(fit_module, "CANDIDATES", 5)
    fit = fitter(k=300)
    near = fit._near()
    assert near.shape == (300, 5)
    assert bool((near == torch.arange(300)[:, None]).any(dim=1).all())
    gaps = (fit.codebook.double()[:, None] - fit.codebook.double()).square().sum(dim=2)
    worst = gaps.gather(1, near).max(dim=1).values
    assert bool((worst <= gaps.topk(5, largest=False).values[:, -1] + 1e-5).all())


@pytest.mark.parametrize("all_motifs", [1, 10**9])
def test_groups_in_pieces_give_what_they_give_at_once(all_motifs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "ALL_MOTIFS", all_motifs)
    monkeypatch.setattr(fit_module, "CANDIDATES", 8)
    found = []
    for chunk in (1, 2**23):
        monkeypatch.setattr(fit_module, "CHUNK", chunk)
        fit = fitter()
        fit.first_pass(silent)
        fit.improve(silent)
        found.append([layer.indices for layer in fit.layers])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


# Damping and feedback


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("rank", [0, 1, 3])
def test_damping_makes_singular_moments_positive_definite(width: int, rank: int) -> None:
    moments = positive(2, width, rank) if rank else torch.zeros(2, width, width)
    found, damping = damped(moments, 4)
    assert found.shape == (2, width + -width % 4, width + -width % 4)
    assert damping == DAMPING  # this much is enough for moments that are sound
    assert float(torch.linalg.eigvalsh(found.double()).min()) > 0
    mean = moments.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    gap = found[:, :width, :width] - moments
    torch.testing.assert_close(gap, (damping * mean)[:, None, None] * torch.eye(width), rtol=1e-3, atol=1e-5)
    assert not found[:, :width, width:].any()


def test_damping_grows_until_it_is_enough() -> None:
    moments = torch.diag(torch.tensor([1.0, 1, 1, -0.05]))[None]
    found, damping = damped(moments, 4)
    assert damping == pytest.approx(10 * DAMPING)
    assert float(torch.linalg.eigvalsh(found).min()) > 0


@pytest.mark.parametrize("rank", [None, 2])
def test_feedback_is_a_root_of_the_inverse(rank: int | None) -> None:
    moments, _ = damped(positive(3, 12, rank), 4)
    upper = feedback(moments)
    assert torch.equal(upper, upper.triu())
    product = upper.double().transpose(1, 2) @ upper.double() @ moments.double()
    torch.testing.assert_close(product, torch.eye(12).double().expand(3, -1, -1), rtol=1e-3, atol=1e-3)


# The first pass


def gptq(weight: np.ndarray, moments: np.ndarray, values: np.ndarray) -> np.ndarray:
    """GPTQ as its paper has it, column by column with the inverse downdated: indices (rows, columns)."""
    weight, inverse = weight.copy(), np.linalg.inv(moments)
    out = np.zeros(weight.shape, dtype=np.int64)
    for j in range(weight.shape[1]):
        out[:, j] = np.abs(weight[:, j, None] - values).argmin(axis=1)
        error = (weight[:, j] - values[out[:, j]]) / inverse[j, j]
        weight -= error[:, None] * inverse[j]
        inverse = inverse - np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        inverse[j], inverse[:, j] = 0, 0
    return out


Reference = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def check_first_pass(fit: Fitter, reference: Reference) -> None:
    """Each row has the reference's motifs, found from the strongest inputs to the weakest, or cheaper ones."""
    book = fit.codebook.double().numpy()
    s = book.shape[1]
    fit.first_pass(silent)
    for layer in fit.layers[:2]:
        moments = fit.moments[layer.name].double().numpy()
        power = np.einsum("gii->i", moments).reshape(-1, s).sum(axis=1)
        order = np.argsort(-power, kind="stable")
        columns = (order[:, None] * s + np.arange(s)).reshape(-1)
        for g, rows in enumerate(layer.targets.double().numpy()):
            expected = np.zeros((len(rows), len(order)), dtype=np.int64)
            expected[:, order] = reference(rows[:, columns], moments[g][np.ix_(columns, columns)], book)
            found = layer.indices[g].numpy()
            same = (found == expected).all(axis=1)
            errors = [rows - book[indices].reshape(rows.shape) for indices in (found, expected)]
            costs = [np.einsum("ni,ij,nj->n", error, moments[g], error) for error in errors]
            # A value halfway between two may fall to either in float32, and then moves what comes after it.
            assert (same | (costs[0] <= costs[1] + 1e-9)).mean() > 0.9
            assert same.mean() > 0.5


def test_the_first_pass_over_single_values_is_gptq() -> None:
    values = torch.linspace(-2.5, 2.5, 9)[:, None]
    fit = fitter(s=1, codebook=values, zero_motif=False, rate_weight=0.0)
    check_first_pass(fit, lambda weight, moments, book: gptq(weight, moments, book[:, 0]))


def reference_blocks(weight: np.ndarray, moments: np.ndarray, book: np.ndarray) -> np.ndarray:
    """The same on blocks: the best motif where all blocks after it may still make good what it gets wrong."""
    s, width = book.shape[1], weight.shape[1]
    out, goal = np.zeros((len(weight), width // s), dtype=np.int64), weight.copy()
    for j in range(width // s):
        at, rest = slice(j * s, j * s + s), slice(j * s + s, width)
        here = moments[at, at]
        if j * s + s < width:
            # Schur complement: the cost of an error here once the rest has answered it in the best way.
            answer = np.linalg.solve(moments[rest, rest], moments[rest, at])
            here = here - moments[at, rest] @ answer
        gap = goal[:, None, at] - book
        out[:, j] = np.einsum("nks,st,nkt->nk", gap, here, gap).argmin(axis=1)
        error = goal[:, at] - book[out[:, j]]
        if j * s + s < width:
            goal[:, rest] += error @ answer.T
    return out


def test_the_first_pass_over_blocks_lets_later_ones_answer_for_earlier() -> None:
    check_first_pass(fitter(rate_weight=0.0), reference_blocks)


def test_the_first_pass_beats_the_nearest_motifs() -> None:
    fit = fitter(k=64)
    fit.first_pass(silent)
    greedy = distortion_of(fit)
    for layer in fit.layers:
        layer.indices = fit._alone(layer)
    assert greedy < 0.8 * distortion_of(fit)
    assert fit.distortion() == pytest.approx(distortion_of(fit), rel=1e-4)


def test_a_layer_without_moments_takes_the_nearest_motifs() -> None:
    fit = fitter(rate_weight=0.0)
    fit.first_pass(silent)
    table = fit.layers[2]
    gaps = torch.cdist(table.targets.reshape(-1, 4).double(), fit.codebook.double())
    chosen = gaps.gather(1, table.indices.reshape(-1, 1).long())[:, 0]
    assert bool((chosen <= gaps.min(dim=1).values + 1e-4).all())


# Rounds


def objective(fit: Fitter, bits: torch.Tensor) -> float:
    """J with its rate at these bits for each motif."""
    return distortion_of(fit) + fit.price * float((fit.usage().double() * bits.double()).sum())


@pytest.mark.parametrize("rate_weight", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("near", [False, True])
def test_no_round_raises_the_objective(rate_weight: float, near: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "ALL_MOTIFS", 8 if near else 10**9)
    monkeypatch.setattr(fit_module, "CANDIDATES", 8)
    fit = fitter(rate_weight=rate_weight)
    fit.first_pass(silent)
    for _ in range(5):
        fit._drop_unused()  # as the round does at first, for it renumbers the motifs
        if near and len(fit.codebook) <= 8:
            break
        bits = fit.rate.bits.clone()  # motifs and mosaic are chosen at these, which are then counted anew
        before = objective(fit, bits)
        fit.improve(silent)
        assert objective(fit, bits) <= before * (1 + 1e-5)


def ideal(fit: Fitter) -> float:
    """J with the entropy of the mosaic, and without the codebook."""
    return distortion_of(fit) + fit.price * fit.bits()


@pytest.mark.parametrize("rate_weight", [0.5, 2.0])
def test_counting_the_bits_anew_raises_nothing_either_where_motifs_are_free(rate_weight: float) -> None:
    fit = fitter(rate_weight=rate_weight, motif_bits=0.0)
    fit.first_pass(silent)
    for _ in range(6):
        before = ideal(fit)
        fit.improve(silent)
        # Shares are counted with half a block more for each motif, so that none has infinitely many bits.
        slack = fit.price * 0.5 * len(fit.codebook) / math.log(2)
        assert ideal(fit) <= before + slack


def test_the_codebook_is_solved_downhill() -> None:
    fit = fitter(rate_weight=0.0)
    fit.first_pass(silent)
    before, start = distortion_of(fit), fit.codebook.clone()
    fit._solve_codebook()
    after = distortion_of(fit)
    assert after < before
    assert not torch.equal(start, fit.codebook)
    assert not fit.codebook[0].any()
    for _ in range(20):
        fit._solve_codebook()
    best = distortion_of(fit)
    assert best <= after * (1 + 1e-6)
    # At the least distortion no motif but the fixed one is pulled anywhere.
    steepest = fit._descent(fit.codebook, targets=True)[1:].abs().max()
    assert float(steepest) < 1e-2 * float(fit._descent(start, targets=True)[1:].abs().max())
    for _ in range(5):
        elsewhere = fit.codebook + 0.01 * torch.randn_like(fit.codebook)
        elsewhere[0] = 0
        assert distortion_of(fit, elsewhere) > best


def test_the_preconditioner_inverts_each_motifs_own_second_derivative() -> None:
    fit = fitter(k=12)
    fit.first_pass(silent)
    inverse = fit._preconditioner().double()
    for motif in range(12):
        own = torch.zeros(4, 4).double()
        for layer in fit.layers:
            for g, row, j in (layer.indices == motif).nonzero().tolist():
                at = slice(4 * j, 4 * j + 4)
                part = fit.moments[layer.name][g, at, at].double() if layer.correlated else torch.eye(4).double()
                own += float(layer.weights[g, row]) * part
        if own.any():
            torch.testing.assert_close(inverse[motif] @ own, torch.eye(4).double(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("zero_motif", [True, False])
def test_the_zero_motif_stays_zero_if_there_is_one(zero_motif: bool) -> None:
    fit = fitter(zero_motif=zero_motif)
    fit.first_pass(silent)
    for _ in range(4):
        fit.improve(silent)
        assert bool(fit.codebook[0].any()) is not zero_motif


def test_motifs_that_nothing_uses_are_dropped_but_for_zero() -> None:
    far = torch.cat([torch.zeros(1, 4), torch.full((3, 4), 100.0), torch.randn(8, 4) + 2])
    fit = fitter(codebook=far, rate_weight=0.0)
    fit.first_pass(silent)
    for layer in fit.layers:
        layer.indices[layer.indices == 0] = 5
    used = int((fit.usage() > 0).sum())
    before = [layer.decoded(fit.codebook) for layer in fit.layers]
    fit._drop_unused()
    assert len(fit.codebook) == used + 1
    assert not fit.codebook[0].any()
    assert all(torch.equal(a, layer.decoded(fit.codebook)) for a, layer in zip(before, fit.layers, strict=True))
    assert len(fit.rate.bits) == len(fit.codebook)


@pytest.mark.parametrize("k", [1, 2])
def test_very_few_motifs(k: int) -> None:
    fit = fitter(k=k)
    fit.first_pass(silent)
    for _ in range(2):
        fit.improve(silent)
    assert bool(torch.isfinite(fit.codebook).all())
    assert fit.usage().sum() == fit.blocks == sum(layer.indices.numel() for layer in fit.layers)


def final(rate_weight: float, **options: int) -> tuple[float, float]:
    """Distortion, and bits a block."""
    fit = fitter(rate_weight=rate_weight, k=64, **options)
    fit.first_pass(silent)
    for _ in range(5):
        fit.improve(silent)
    return distortion_of(fit), fit.bits() / fit.blocks


def test_more_weight_on_the_rate_gives_fewer_bits_and_more_distortion() -> None:
    found = [final(weight) for weight in (0.0, 0.5, 1.0, 2.0, 5.0, 100.0)]
    distortions, bits = zip(*found, strict=True)
    assert list(distortions) == sorted(distortions)
    assert list(bits) == sorted(bits, reverse=True)
    assert bits[-1] < 0.5 * bits[0]


def test_the_same_start_gives_the_same_end() -> None:
    assert final(1.0) == final(1.0)
    assert final(1.0) != final(1.0, seed=1)


# Padding


def padded_pair(values: float) -> tuple[Fitter, Fitter]:
    """The same layer, 10 columns at s = 4, and motifs that differ only in what stands in the padding."""
    torch.manual_seed(0)
    out = []
    for fill in (0.0, values):
        torch.manual_seed(0)
        weight, moments = torch.randn(40, 10), positive(1, 10)
        store = MatrixStore()
        store["layer"], _ = damped(moments, 4)
        scales = encode_scales(weight.square().mean(dim=1).sqrt())
        targets = normalised(weight, Layout(40), scales, 1, 4)
        assert not targets[:, :, 10:].any()
        targets[:, :, 10:] = fill
        layer = LayerFit("layer", Layout(40), scales, targets, torch.ones(1, 40), True)
        book = torch.randn(32, 4)
        out.append(Fitter([layer], store, book, rate_weight=0.0, motif_bits=0, zero_motif=False, device="cpu"))
    return out[0], out[1]


def test_what_stands_in_the_padding_hardly_counts() -> None:
    plain, filled = padded_pair(1.0)
    for fit in (plain, filled):
        fit.first_pass(silent)
    layers = plain.layers[0], filled.layers[0]
    assert (layers[0].indices == layers[1].indices).float().mean() > 0.99
    moments = plain.moments["layer"]
    real = moments[:, :10, :10].diagonal(dim1=1, dim2=2).mean()
    assert float(moments[0, 10:, 10:].diagonal().max()) < 1e-3 * float(real)


def test_the_decoded_weight_has_no_padding_and_the_rows_scales() -> None:
    weight = torch.randn(6, 10)
    scales = encode_scales(weight.square().mean(dim=1).sqrt())
    layer = LayerFit("w", Layout(6), scales, torch.zeros(2, 3, 12), torch.ones(2, 3), False)
    layer.indices = torch.randint(0, 5, (2, 3, 3), dtype=torch.int32)
    book = torch.randn(5, 4)
    decoded = layer.weight(book, (6, 2, 5))
    expected = book[layer.indices.long()].reshape(6, 12)[:, :10] * scale_values(scales)[:, None]
    assert torch.equal(decoded, expected.reshape(6, 2, 5))
    transposed = LayerFit("w", Layout(6, transposed=True), scales, torch.zeros(1, 6, 12), torch.ones(1, 6), False)
    transposed.indices = layer.indices.reshape(1, 6, 3)
    assert torch.equal(transposed.weight(book, (10, 6)), expected.T)
    # A weight over its scales, and back.
    blocks = normalised(weight, Layout(6), scales, 2, 4)
    assert blocks.shape == (2, 3, 12)
    torch.testing.assert_close(blocks.reshape(6, 12)[:, :10] * scale_values(scales)[:, None], weight)


# Rates


def test_bits_of_motifs_are_those_of_their_share_and_of_the_codebook() -> None:
    rate = Rate(4, 36.0)
    assert rate.bits.tolist() == [2.0] * 4
    rate.update(torch.tensor([100, 20, 1, 0]))
    shares = np.array([100.5, 20.5, 1.5, 0.5]) / 123
    assert rate.bits.numpy() == pytest.approx(-np.log2(shares) + np.array([0.36, 1.8, 36, 36]), rel=1e-5)
    assert Rate(1, 0.0).bits.tolist() == [1.0]
