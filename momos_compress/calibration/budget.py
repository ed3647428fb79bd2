"""What a calibrated fit may spend: a time limit shared out between the steps of a fit, by their pace on this machine.

Each step has a list of numbers, the wanted ones first and each later entry about half as dear, so that a machine's ups
and downs change nothing where time is not short.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from momos_compress.calibration.trial import Pace
from momos_compress.planning.choices import Choices
from momos_compress.planning.steps import Steps

EFFORT_SECONDS = {"quick": 60.0, "default": 240.0, "thorough": 1200.0}
"""Time limit of each effort."""
INPUT_SHARE = 0.1
"""Share of the limit for making inputs, where they are made."""
SHARES = {"moments": 0.2, "gradients": 0.15, "fit": 0.25, "rounds": 0.2, "tuning": 0.2}
"""Shares of the rest for motifs that are blocks; what a step does not need goes to the others."""
SHARES_OF_LEVELS = {"moments": 0.3, "gradients": 0.2, "fit": 0.1, "rounds": 0.15, "tuning": 0.25}
"""The same for levels."""

BATCH = 64
"""Samples of a batch, where as many fit into memory."""
GRADIENT_BATCH = 16
"""Samples of a batch whose gradients are taken: products of two samples cancel better in small batches."""
REPAIR_SAMPLES = 1024
"""Samples from which means and variances are repaired, where as many fit into memory."""
HELD_VALUES = 2**24
"""Values of one network's vectors that are held for a batch while the other runs: 64 MiB."""
CORRECTION = 0.5
"""Fraction of the least-squares correction that targets take in a round.

It is below 1 because all layers move at once, and earlier layers absorb part of the error.
"""

GRADIENT_SAMPLES = 1024
"""Samples that gradients are wanted of."""
COMPARED_SAMPLES = 512
"""Samples on which the two networks are wanted to be compared in a round."""
LEAST_SAMPLES = 64
"""Samples of moments, gradients and tuning in any case, where there are as many."""
LEAST_COMPARED = 32
"""Samples of a comparison in any case, where there are as many."""
PASSES = (14, 10, 7, 5, 4, 3, 2, 1)
"""Passes over the mosaic before the first round."""
ROUNDS = ((4, 4), (4, 2), (2, 2), (1, 2))
"""Rounds, and passes over the mosaic in each."""
EPOCHS = (8, 4, 2, 1)
"""Epochs of tuning; none where one epoch takes too long."""
PASSES_OF_LEVELS = (2,)
"""Passes over levels: more change nothing, for the greedy rounding before them answers for errors already."""
EPOCHS_OF_LEVELS = (2, 1)
"""Epochs of tuning for levels."""

VALIDATED = 64
"""Samples on which a sequence is judged at most."""
SEQUENCE_PASSES = 5
"""Passes that levels in sequence cost: a greedy rounding, the solution of the shift, and passes."""
MOMENTS_COST = 1.5
"""Forward passes that one sample's second moments cost."""
COMPARED_COST = 3.0
"""Forward passes that one sample's comparison costs: both networks', and the sums."""
FIRST_PASSES = 5
"""Passes that the first motifs, the first mosaic and the last rounding cost."""


@dataclass(frozen=True)
class Option:
    """Numbers that a step may take.

    Attributes:
        seconds: What they cost.
        numbers: By name, as in ``Steps``.
    """

    seconds: float
    numbers: Mapping[str, int]


def seconds_allowed(settings: Choices) -> float:
    """The time limit that was asked for, or that of the effort."""
    return settings.time_limit if settings.time_limit is not None else EFFORT_SECONDS[settings.effort]


def seconds_for_inputs(settings: Choices) -> float:
    """The part of the time limit that making inputs may take."""
    return INPUT_SHARE * seconds_allowed(settings)


def options_of(
    samples: int, pace: Pace, repaired: int, *, levels: bool = False, tunes: bool = True
) -> dict[str, list[Option]]:
    """What each step may do, dearest first.

    Args:
        samples: Samples there are.
        pace: Of this machine.
        repaired: Samples from which means and variances are repaired in a round, or on which levels are fitted in
            sequence.
        levels: Whether motifs are levels.
        tunes: Whether norms and biases are tuned at all.
    """
    forward, gradient = pace.forward, pace.gradient
    compared = halves(min(samples, COMPARED_SAMPLES), LEAST_COMPARED)
    rounds = [
        *((count, again, compared[0]) for count, again in ROUNDS),
        *((1, 2, n) for n in compared[1:]),
        *((count, count, compared[-1]) for count in (1, 0)),
    ]
    tuned = halves(samples, LEAST_SAMPLES)
    tuning = [(epochs, samples) for epochs in (EPOCHS_OF_LEVELS if levels else EPOCHS)] + [(1, n) for n in tuned[1:]]
    return {
        "moments": [Option(MOMENTS_COST * n * forward, {"moments": n}) for n in halves(samples, LEAST_SAMPLES)],
        "gradients": [
            Option(n * gradient, {"gradients": n}) for n in halves(min(samples, GRADIENT_SAMPLES), LEAST_SAMPLES)
        ],
        "fit": [
            Option((FIRST_PASSES + n) * pace.fit_pass, {"passes": n}) for n in (PASSES_OF_LEVELS if levels else PASSES)
        ],
        "rounds": [
            # Both networks run on the repaired samples, and on those apart; each layer is rounded and improved again.
            Option(
                (4 * repaired + 4 * VALIDATED) * forward + SEQUENCE_PASSES * pace.fit_pass,
                {"rounds": 1, "again": 0, "compared": repaired},
            )
        ]
        if levels
        else [
            Option(
                count * ((COMPARED_COST * n + 2 * repaired) * forward + pace.correction + again * pace.fit_pass),
                {"rounds": count, "again": again, "compared": n},
            )
            for count, again, n in rounds
        ],
        "tuning": [
            # Both networks run in a step, and before and after all of them.
            Option(n * (4 * forward + epochs * (forward + gradient)), {"epochs": epochs, "tuned": n})
            for epochs, n in tuning
        ]
        + [Option(0.0, {"epochs": 0, "tuned": tuned[-1]})]
        if tunes
        else [Option(0.0, {"epochs": 0, "tuned": samples})],
    }


def halves(most: int, least: int) -> list[int]:
    """``most``, and the powers of two below it down to ``least``."""
    below = 1 << max(most - 1, 1).bit_length() - 1
    powers = []
    while below >= least:
        if below < most:
            powers.append(below)
        below //= 2
    return [most, *powers]


def share_out(
    limit: float, options: Mapping[str, list[Option]], shares: Mapping[str, float] = SHARES
) -> dict[str, Option]:
    """The option of each step that its share of the limit allows: the last where none does.

    Steps that need less than their share leave the rest to the others, and those that cannot do with it take from them.
    """
    chosen: dict[str, Option] = {}

    def allowed(steps: list[str], left: float) -> dict[str, float]:
        whole = sum(shares[name] for name in steps)
        return {name: left * shares[name] / whole for name in steps}

    while True:
        open_steps = [name for name in options if name not in chosen]
        left = limit - sum(option.seconds for option in chosen.values())
        own = allowed(open_steps, left)
        content = {name: options[name][0] for name in open_steps if options[name][0].seconds <= own[name]}
        others = [name for name in open_steps if name not in content]
        still = allowed(others, left - sum(option.seconds for option in content.values()))
        short = {name: options[name][-1] for name in others if options[name][-1].seconds > still[name]}
        if not content and not short:
            break
        chosen |= short or content
    for name in open_steps:
        chosen[name] = next(each for each in options[name] if each.seconds <= own[name])
    return chosen


def steps_of(chosen: Mapping[str, Option]) -> Steps:
    """The numbers of all steps."""
    return Steps(**{name: number for option in chosen.values() for name, number in option.numbers.items()})
