"""Samples, passes and rounds that a fit can afford, by hand."""

import pytest

from momos_compress.calibration.budget import Budget, Schedule, affordable_passes, affordable_samples


@pytest.mark.parametrize(
    ("samples", "products", "expected"),
    [
        # A small network sees all that is asked for.
        (2000, 10, Budget(1024, 512, 2 * 10 * 512, 2000, 8)),
        # Fewer samples than any step asks for.
        (96, 10**6, Budget(96, 96, 2 * 96 * 10**6, 96, 8)),
        # ResNet-50: gradients of 5e12 / 1.2e10 samples, rounds of 2e12 / 8e9, tuning of 5e12 / 1.6e10 in one epoch.
        (1024, 4 * 10**9, Budget(416, 250, 2 * 10**12, 312, 1)),
        # Gradients keep their least; everything else goes on with one sample, and tuning with none.
        (1024, 10**13, Budget(128, 1, 2 * 10**13, 1, 0)),
        # No layer of a known kind costs anything.
        (64, 0, Budget(64, 64, 0, 64, 8)),
    ],
)
def test_each_step_sees_the_samples_it_can_afford(samples: int, products: int, expected: Budget) -> None:
    assert affordable_samples(samples, products) == expected


@pytest.mark.parametrize(
    ("blocks", "k", "round_products", "expected"),
    [
        (10_000, 100, 10**6, Schedule(14, 4, 4)),
        # 194e9 / (1e7 (2000 + 1000)) = 6 passes: 6 * 4 / 14 = 1 round of 6 / 3 passes.
        (10**7, 1000, 10**6, Schedule(6, 1, 2)),
        # At most four times as many motifs are looked at as there are candidates: 194e9 / (6e6 (2000 + 1024)) = 10.
        (6 * 10**6, 60_000, 10**6, Schedule(10, 2, 3)),
        # Rounds are bounded by their forward passes, and one is always there; so are four passes.
        (10_000, 100, 2 * 10**12, Schedule(14, 2, 4)),
        (10**9, 8192, 10**13, Schedule(4, 1, 2)),
    ],
)
def test_passes_and_rounds_are_those_that_are_affordable(
    blocks: int, k: int, round_products: int, expected: Schedule
) -> None:
    assert affordable_passes(blocks, k, Budget(1, 1, round_products, 1, 1)) == expected
