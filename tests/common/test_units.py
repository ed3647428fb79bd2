"""Sizes and times as people write them."""

import pytest

from momos_compress import MomosError
from momos_compress.common.units import binary_size, duration, parse_duration


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (3 * 2**30, "3.0 GiB"), (2**42, "4.0 TiB")],
)
def test_binary_sizes(count: int, text: str) -> None:
    assert binary_size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.123, "0.12 s"), (42, "42.0 s"), (119.94, "119.9 s"), (185, "3 min 5 s"), (7440, "2 h 4 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("10min", 600.0), (" 1.5 h ", 5400.0), ("1e3", 1000.0), ("-1", -1.0)],
)
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "soon", "10 years", "1h30m", "10M"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(MomosError, match=r"is no time; write it as 90s, 10m or 2h$"):
        parse_duration(text)
