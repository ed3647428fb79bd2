"""Sums of products that wait, against products taken at once."""

import pytest
import torch

from momos_compress.calibration import products as products_module
from momos_compress.calibration.products import Products, gram
from momos_compress.calibration.sampling import Sampling

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("columns", [1, 4, 5, 11])
def test_a_gram_matrix_is_put_together_from_bands(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products_module, "BAND", 4)
    vectors = torch.randn(2, 7, columns)
    found = gram(vectors)
    expected = torch.einsum("gmi,gmj->gij", vectors.double(), vectors.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(found, found.transpose(1, 2))


@pytest.mark.parametrize("held", [0, 60, 10**6])
def test_sums_do_not_depend_on_how_many_vectors_wait(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products_module, "HELD_VALUES", held)
    generator = torch.Generator().manual_seed(0)
    sums = Products(Sampling([], 1, device="cpu", seed=0))
    expected = {"wide": torch.zeros(1, 6, 6).double(), "pair": torch.zeros(2, 3, 3).double()}
    most = 0
    for _ in range(5):
        wide = torch.randn(1, 4, 6, generator=generator)
        left, right = torch.randn(2, 2, 5, 3, generator=generator)
        sums.add("wide", wide, None, 8)  # each stands for two places
        sums.add("pair", left, right, 5)
        expected["wide"] += 2 * torch.einsum("gmi,gmj->gij", wide.double(), wide.double())
        expected["pair"] += torch.einsum("gmi,gmj->gij", left.double(), right.double())
        wide.zero_()  # as a layer that works in place does
        most = max(most, sum(sums._values.values()))
    assert most <= held
    found = sums.finish(2)
    assert set(found.names()) == set(expected)
    for name, matrix in expected.items():
        torch.testing.assert_close(found[name].double(), matrix / 2, rtol=1e-5, atol=1e-5)


def test_a_batch_without_a_place_adds_nothing() -> None:
    sums = Products(Sampling([], 1, device="cpu", seed=0))
    sums.add("expert", torch.empty(1, 0, 4), None, 0)
    assert sums.finish(1).names() == ()
