"""Sizes and times as text for people, and read from what people write."""

from momos_compress.errors import MomosError

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def binary_size(count: float) -> str:
    """Write a number of bytes in binary units: 1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Write seconds as "0.12 s", "42.0 s", "3 min 5 s" or "2 h 4 min"."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600}


def parse_duration(text: str) -> float:
    """Read a time: "90" and "90s" -> 90.0, "10m" -> 600.0, "1.5h" -> 5400.0.

    Raises:
        MomosError: The text is no time.
    """
    unit = next((unit for unit in _SECONDS if text.strip().endswith(unit)), "")
    try:
        seconds = float(text.strip().removesuffix(unit)) * _SECONDS.get(unit, 1)
    except ValueError:
        raise MomosError(f"{text!r} is no time; write it as 90s, 10m or 2h") from None
    return seconds


def parse_size(text: str) -> int:
    """Read a size: "20GB" -> 20000000000, "1.5 GiB", "500000".

    Raises:
        MomosError: The text is not a size from 0 to 2^63 - 1 bytes.
    """
    number = text.strip().rstrip("BKMGTIbkmgti ")
    unit = text.strip()[len(number) :].strip().upper() or "B"
    try:
        size = float(number) * _UNITS[unit if unit in _UNITS else f"{unit}B"]
        if not 0 <= size < 2**63:
            raise ValueError
    except (ValueError, KeyError):
        raise MomosError(f"{text!r} is no size; write it as 20GB, 512MiB or a number of bytes") from None
    return int(size)
