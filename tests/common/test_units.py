"""Sizes and times as people write them."""

import pytest

from momos_compress.common.units import binary_size, duration


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
