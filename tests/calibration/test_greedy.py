"""The first mosaic, against GPTQ as its paper has it and against the same on blocks by Schur complements."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from fit_states import distortion_of, positive, small_state, untold

from momos_compress.calibration.alternation import first_pass
from momos_compress.calibration.damping import damped
from momos_compress.calibration.greedy import feedback
from momos_compress.calibration.objective import distortion
from momos_compress.calibration.search import MotifSearch
from momos_compress.calibration.state import FitState

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("rank", [None, 2])
def test_feedback_is_a_root_of_the_inverse(rank: int | None) -> None:
    moments, _ = damped(positive(3, 12, rank), 4)
    upper = feedback(moments)
    assert torch.equal(upper, upper.triu())
    product = upper.double().transpose(1, 2) @ upper.double() @ moments.double()
    torch.testing.assert_close(product, torch.eye(12).double().expand(3, -1, -1), rtol=1e-3, atol=1e-3)


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


def check_first_pass(fit: FitState, reference: Reference) -> None:
    """Each row has the reference's motifs, found from the strongest inputs to the weakest, or cheaper ones."""
    book = fit.codebook.double().numpy()
    s = book.shape[1]
    first_pass(fit, untold)
    for layer in fit.layers[:2]:
        moments = fit.moments[layer.name].double().numpy()
        power = np.einsum("gii->i", moments).reshape(-1, s).sum(axis=1)
        order = np.argsort(-power, kind="stable")
        columns = (order[:, None] * s + np.arange(s)).reshape(-1)
        for g, rows in enumerate(fit.targets[layer.name].double().numpy()):
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
    fit = small_state(s=1, codebook=values, zero_motif=False, rate_weight=0.0)
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
    check_first_pass(small_state(rate_weight=0.0), reference_blocks)


def test_the_first_pass_beats_the_nearest_motifs() -> None:
    fit = small_state(k=64)
    first_pass(fit, untold)
    greedy = distortion_of(fit)
    for layer in fit.layers:
        layer.indices = MotifSearch(fit.codebook, fit.rate.bits).independent(
            fit.targets[layer.name], fit.bit_weight(layer)
        )
    assert greedy < 0.8 * distortion_of(fit)
    assert distortion(fit) == pytest.approx(distortion_of(fit), rel=1e-4)


def test_a_layer_without_moments_takes_the_nearest_motifs() -> None:
    fit = small_state(rate_weight=0.0)
    first_pass(fit, untold)
    table = fit.layers[2]
    gaps = torch.cdist(fit.targets[table.name].reshape(-1, 4).double(), fit.codebook.double())
    chosen = gaps.gather(1, table.indices.reshape(-1, 1).long())[:, 0]
    assert bool((chosen <= gaps.min(dim=1).values + 1e-4).all())
