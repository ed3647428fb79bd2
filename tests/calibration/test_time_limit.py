"""How a time limit is shared out, at paces that are made up."""

from collections.abc import Callable

import pytest
from torch.utils.flop_counter import FlopCounterMode

from momos_compress.calibration import fit_trial, trial
from momos_compress.calibration.budget import (
    SHARES,
    Option,
    halves,
    options_of,
    seconds_allowed,
    share_out,
    steps_of,
)
from momos_compress.calibration.decide import Decision
from momos_compress.calibration.trial import Pace, least_seconds
from momos_compress.planning.steps import Steps
from momos_compress.settings import Settings

FULL = Steps(moments=1024, gradients=1024, passes=14, rounds=4, compared=512, again=4, tuned=1024, epochs=8)
SHAPE = (1, 256, 1024)
LEAST = Steps(moments=64, gradients=64, passes=1, rounds=0, compared=32, again=0, tuned=64, epochs=0)
RESNET20 = Pace(forward=0.002, gradient=0.006, fit_pass=0.5)


def steps_at(limit: float, pace: Pace, samples: int = 1024, repaired: int = 100) -> Steps:
    return steps_of(share_out(limit, options_of(samples, pace, repaired)))


@pytest.mark.parametrize(
    ("most", "least", "expected"),
    [
        (1024, 64, [1024, 512, 256, 128, 64]),
        (1000, 64, [1000, 512, 256, 128, 64]),
        (65, 64, [65, 64]),
        (64, 64, [64]),
        (10, 64, [10]),
        (1, 64, [1]),
    ],
)
def test_numbers_fall_by_powers_of_two(most: int, least: int, expected: list[int]) -> None:
    assert halves(most, least) == expected


def test_a_small_network_gets_all_that_is_wanted() -> None:
    assert steps_at(240, RESNET20) == FULL
    # A machine of half the speed, or one that is busy, decides the same.
    slower = Pace(*(1.5 * seconds for seconds in vars(RESNET20).values()))
    assert steps_at(240, slower) == FULL
    assert steps_at(240, RESNET20, samples=20) == Steps(20, 20, 14, 4, 20, 4, 20, 8)


def test_time_that_does_not_do_for_anything_gives_the_least() -> None:
    assert steps_at(0.1, RESNET20) == LEAST
    assert steps_at(-1.0, RESNET20) == LEAST
    assert steps_at(0.1, RESNET20, samples=3) == Steps(3, 3, 1, 0, 3, 0, 3, 0)


@pytest.mark.parametrize("limit", [20.0, 60.0, 240.0, 1200.0, 10_000.0])
@pytest.mark.parametrize("pace", [RESNET20, Pace(0.03, 0.12, 3.0), Pace(0.5, 2.0, 1.0), Pace(0.001, 0.003, 20.0)])
def test_steps_keep_to_the_limit_where_they_can(limit: float, pace: Pace) -> None:
    options = options_of(1024, pace, 32)
    chosen = share_out(limit, options)
    least = {name: each[-1].seconds for name, each in options.items()}
    over = [name for name, option in chosen.items() if option != options[name][-1]]
    if over:  # a step that may take more than its least keeps to its share of what is left
        forced = sum(max(0.0, least[name] - limit * share) for name, share in SHARES.items())
        assert sum(option.seconds for option in chosen.values()) <= limit + forced
    else:
        assert all(chosen[name].seconds == least[name] for name in least)


def test_more_time_never_gives_a_step_less() -> None:
    pace = Pace(0.03, 0.12, 3.0)
    before: dict[str, Option] = {}
    for limit in range(1, 3000, 7):
        chosen = share_out(limit, options_of(1024, pace, 32))
        for name, option in before.items():
            assert chosen[name].seconds >= option.seconds, (limit, name)
        before = chosen
    assert steps_of(before) == FULL


def test_what_one_step_leaves_goes_to_the_others() -> None:
    options = {name: [Option(1.0, {}), Option(0.0, {})] for name in SHARES}
    options["fit"] = [Option(95.0, {}), Option(1.0, {})]
    assert share_out(100.0, options)["fit"].seconds == 95.0


def test_each_options_are_dearest_first() -> None:
    for options in options_of(1000, Pace(0.03, 0.12, 3.0), 32).values():
        costs = [option.seconds for option in options]
        assert costs == sorted(costs, reverse=True)


def test_a_limit_stands_over_the_effort() -> None:
    from conftest import memory_checkpoint
    from torch import ones

    from momos_compress.planning.choices import choose

    checkpoint = memory_checkpoint({"w": ones(8, 8)})
    for settings, expected in (
        (Settings(), 240),
        (Settings(effort="quick"), 60),
        (Settings(effort="thorough"), 1200),
        (Settings(effort="quick", time_limit=7.5), 7.5),
    ):
        assert seconds_allowed(choose(checkpoint, settings)) == expected


def test_a_limit_below_the_least_is_told() -> None:
    short = Decision(LEAST, limit=1.0, seconds=30.0, least=True)
    assert short.warning(0.9) is None
    assert short.warning(34.0) == (
        "`time_limit` 1.00 s is shorter than the least that this network takes: it had 64 samples and 1 pass, and "
        "took 34.0 s"
    )
    assert Decision(FULL, limit=1.0, seconds=0.5, least=False).warning(2.0) is None


def test_the_shortest_of_three_runs_counts_and_a_long_one_is_not_repeated() -> None:
    for times, expected, runs in (([0.4, 0.2, 0.3], 0.2, 3), ([5.0], 5.0, 1), ([3.5, 0.1], 3.5, 1)):
        left, count = list(times), []
        assert least_seconds(lambda: count.append(1), lambda: lambda: left.pop(0)) == expected  # noqa: B023
        assert len(count) == runs


def test_what_is_compiled_at_a_first_call_is_not_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    from time import process_time

    calls: list[int] = []

    def improve(*_: object, codebook: bool) -> None:
        start = process_time()
        while not calls and process_time() - start < 0.3:
            pass
        calls.append(1)

    monkeypatch.setattr(fit_trial, "improve", improve)
    monkeypatch.setattr(trial, "LONG", 0.0)  # even the shortest run is not repeated
    assert fit_trial.pass_seconds([(1, 2, 2)], k=2, s=1, device="cpu", seed=0) < 0.1
    assert len(calls) == 2


def test_a_step_that_cannot_do_with_its_share_takes_from_the_others() -> None:
    options = {name: [Option(20.0, {}), Option(5.0, {}), Option(0.0, {})] for name in SHARES}
    options["fit"] = [Option(200.0, {}), Option(90.0, {})]
    chosen = share_out(100.0, options)
    assert chosen["fit"].seconds == 90.0
    assert sum(option.seconds for option in chosen.values()) <= 100.0


@pytest.mark.parametrize("trial_of", [fit_trial.solution_seconds, fit_trial.correction_seconds])
def test_what_a_trial_tells_grows_with_the_layers(
    trial_of: Callable[..., float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock that counts products: what a machine does beside is no concern here.
    def least(run: Callable[[], object]) -> float:
        with FlopCounterMode(display=False) as counter:
            run()
        return float(counter.get_total_flops())

    monkeypatch.setattr(fit_trial, "least_seconds", least)
    given = {"device": "cpu", "seed": 0} | ({} if trial_of is fit_trial.correction_seconds else {"k": 16, "s": 4})
    one, two, wide = (trial_of(shapes, **given) for shapes in ([SHAPE], [SHAPE, SHAPE], [(1, 256, 2048)]))
    assert 0 < one < two
    assert 3.9 < wide / one < 8.1  # a product with a matrix of twice the columns, or that and its factor
