"""What a calibrated fit may spend: samples, passes over the mosaic, and rounds.

Costs are counted in multiplications of forward passes ("products") and in distances between blocks and motifs, so that
large networks and large codebooks see fewer samples and get fewer passes and rounds.
"""

from dataclasses import dataclass

from momos_compress.calibration.search import ALL_MOTIFS, CANDIDATES

BATCH = 64
"""Samples of a batch, where as many fit into memory."""
GRADIENT_BATCH = 16
"""Samples of a batch whose gradients are taken: products of two samples cancel better in small batches."""
GRADIENT_SAMPLES = 1024
"""Samples that gradients are taken of, where they are affordable."""
LEAST_GRADIENTS = 128
"""Samples that gradients are taken of in any case: squared gradients are means over a row, so few samples do."""
GRADIENT_PRODUCTS = 5 * 10**12
"""Products that gradients may take, at three times a forward pass a sample."""
PASSES = 14
"""Passes over the mosaic before the first round, where they are affordable."""
LEAST_PASSES = 4
"""Passes before the first round in any case."""
PAIRS = 194 * 10**9
"""Block-motif distances that the passes before the first round may take."""
PAIRS_A_BLOCK = 2000
"""Fixed cost of one block in a pass, in block-motif distances."""
ROUNDS = 4
"""Rounds of comparing the two networks and fitting again, where they are affordable."""
LEAST_ROUNDS = 1
"""Rounds in any case."""
PASSES_A_ROUND = 4
"""Passes over the mosaic in a round, where they are affordable."""
LEAST_A_ROUND = 2
"""Passes in a round in any case."""
ROUND_SAMPLES = 512
"""Samples on which the two networks are compared in a round, where they are affordable."""
ROUND_PRODUCTS = 2 * 10**12
"""Products that the two forward passes of one round may take."""
ROUNDS_PRODUCTS = 4 * 10**12
"""Products that the forward passes of all rounds may take."""
HELD_VALUES = 2**27
"""Values of one network's vectors that are held for a batch while the other runs: 512 MiB."""
CORRECTION = 0.5
"""Fraction of the least-squares correction that targets take in a round.

It is below 1 because all layers move at once, and earlier layers absorb part of the error.
"""
REPAIR_SAMPLES = 1024
"""Samples from which means and variances are repaired, where as many fit into memory."""
TUNING_EPOCHS = 8
"""Epochs of tuning what is stored beside the mosaic, where they are affordable."""
TUNING_PASSES = 4
"""Forward passes that one sample costs in an epoch of tuning, its backward pass included."""
TUNING_PRODUCTS = 5 * 10**12
"""Products that tuning may take."""


@dataclass(frozen=True)
class Budget:
    """How many samples each step of a fit sees.

    Attributes:
        gradient_samples: For gradients.
        round_samples: For the comparison of a round.
        round_products: Products of one round's forward passes.
        tuning_samples: For tuning.
        tuning_epochs: Epochs over these; may be 0.
    """

    gradient_samples: int
    round_samples: int
    round_products: int
    tuning_samples: int
    tuning_epochs: int


@dataclass(frozen=True)
class Schedule:
    """How often the mosaic is improved.

    Attributes:
        passes: Passes before the first round.
        rounds: Rounds.
        passes_a_round: Passes in each of them.
    """

    passes: int
    rounds: int
    passes_a_round: int


def affordable_samples(samples: int, products: int) -> Budget:
    """The samples that each step of a fit can afford.

    Args:
        samples: Samples there are.
        products: Multiplications that one of them takes in a forward pass.
    """

    def affordable(limit: int, passes: int) -> int:
        return max(1, min(samples, limit // max(1, passes * products)))

    by_cost = GRADIENT_PRODUCTS // max(1, 3 * products)
    for_round = min(ROUND_SAMPLES, affordable(ROUND_PRODUCTS, 2))
    for_tuning = affordable(TUNING_PRODUCTS, TUNING_PASSES)
    return Budget(
        gradient_samples=min(GRADIENT_SAMPLES, samples, max(LEAST_GRADIENTS, by_cost)),
        round_samples=for_round,
        round_products=2 * products * for_round,
        tuning_samples=for_tuning,
        tuning_epochs=min(TUNING_EPOCHS, TUNING_PRODUCTS // max(1, TUNING_PASSES * products * for_tuning)),
    )


def affordable_passes(blocks: int, k: int, budget: Budget) -> Schedule:
    """The passes and rounds that a fit can afford.

    Args:
        blocks: Blocks of the mosaic.
        k: Motifs.
        budget: Samples of its steps.
    """
    pairs = blocks * (PAIRS_A_BLOCK + (k if k <= ALL_MOTIFS else 4 * CANDIDATES))
    passes = max(LEAST_PASSES, min(PASSES, PAIRS // max(1, pairs)))
    rounds = min(ROUNDS, ROUNDS_PRODUCTS // max(1, budget.round_products), passes * ROUNDS // PASSES)
    return Schedule(passes, max(LEAST_ROUNDS, rounds), max(LEAST_A_ROUND, min(PASSES_A_ROUND, passes // 3)))
