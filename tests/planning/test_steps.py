"""Numbers of a fit's steps, written and read."""

import pytest

from momos_compress import MomosError
from momos_compress.planning.steps import Steps, read_steps

STEPS = Steps(96, 64, 14, 4, 96, 4, 96, 8)


def test_steps_are_read_as_they_are_written() -> None:
    assert read_steps(str(STEPS)) == vars(STEPS)
    assert Steps(1, 1, 0, 0, 1, 0, 1, 0).fixed(str(STEPS)) == STEPS


def test_some_are_fixed_and_the_others_stay() -> None:
    assert STEPS.fixed(" passes=2, epochs=0") == Steps(96, 64, 2, 4, 96, 4, 96, 0)
    assert STEPS.fixed(None) == STEPS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("passe=2", "`steps` names 'passe'; write it as passes=8,epochs=0, with moments, gradients, passes,"),
        ("", "`steps` names ''"),
        ("passes", "`steps` needs a whole number of passes, at least 0, not ''"),
        ("passes=-1", "`steps` needs a whole number of passes, at least 0, not '-1'"),
        ("passes=1.5", "not '1.5'"),
        ("passes=²", "not '²'"),
        ("moments=0", "`steps` needs a whole number of moments, at least 1, not '0'"),
    ],
)
def test_what_is_no_step_is_told(text: str, message: str) -> None:
    with pytest.raises(MomosError) as caught:
        read_steps(text)
    assert message in str(caught.value)
