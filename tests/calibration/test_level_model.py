"""Bits of levels against entropies counted by numpy."""

import numpy as np
import torch

from momos_compress.calibration.level_model import CLASSES, level_model

MOST = 200


def spread_levels(seed: int) -> torch.Tensor:
    """Levels whose rows and columns differ in size by factors of tens."""
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.normal(0, 1, (80, 1)) + rng.normal(0, 0.7, (1, 120)))
    return torch.from_numpy(np.clip(np.rint(rng.laplace(0, 2 * sizes)), -MOST, MOST).astype(np.float32))[None]


def test_a_models_total_is_near_the_entropy_within_its_classes() -> None:
    levels = spread_levels(0)
    model = level_model([("a", levels)], MOST)
    kinds = model.rounding("a", torch.zeros(0), torch.ones(1, 1)).of_values().reshape(-1).numpy()
    values = levels.reshape(-1).numpy()
    within = 0.0
    for kind in np.unique(kinds):
        _, counts = np.unique(values[kinds == kind], return_counts=True)
        within -= float(counts @ np.log2(counts / counts.sum()))
    _, counts = np.unique(values, return_counts=True)
    whole = -float(counts @ np.log2(counts / counts.sum()))
    total = model.total("a", levels + MOST)
    assert within < total < 1.1 * within
    assert total < 0.93 * whole  # sizes of rows and columns say much of a value


def test_each_class_is_a_distribution() -> None:
    model = level_model([("a", spread_levels(1)), ("b", torch.zeros(2, 3, 4))], MOST)
    shares = torch.exp2(-model.bits.double())
    assert shares.shape == (CLASSES, 2 * MOST + 1)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(CLASSES, dtype=torch.float64), rtol=1e-5, atol=0)
    assert bool(torch.isfinite(model.bits).all())
    assert np.isfinite(model.total("b", torch.full((2, 3, 4), MOST)))


def test_levels_are_dearer_the_further_they_are_from_zero_in_an_unseen_class() -> None:
    model = level_model([("a", torch.zeros(1, 2, 2))], 8)
    for kind in range(CLASSES):
        away = model.bits[kind, 8:]
        assert bool((away[1:] >= away[:-1] - 1e-5).all()), kind
