"""Checked fields of a JSON object from an untrusted file; each function raises FormatError for what is not allowed."""

import json
from collections.abc import Mapping
from typing import Any

from momos_compress.errors import FormatError


def parse_object(text: str, what: str) -> dict[str, Any]:
    """Parse a JSON object strictly.

    Args:
        text: The JSON text.
        what: What to call it in an error.

    Raises:
        FormatError: It is not a JSON object, a key stands twice, or a number is beyond a float.
    """
    try:
        record = json.loads(
            text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not JSON ({type(error).__name__})") from error
    if not isinstance(record, dict):
        raise FormatError(f"{what} is not a JSON object")
    return record


def integer(record: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """Read an integer in low..high, both included."""
    value = record.get(key)
    if type(value) is not int or not low <= value <= high:
        raise FormatError(f"{key!r} must be an integer in {low}..{high}, not {str(value)[:40]}")
    return value


def number(record: Mapping[str, Any], key: str) -> float:
    """Read a finite number that is not negative."""
    value = record.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e300:
        raise FormatError(f"{key!r} must be a finite number that is not negative, not {str(value)[:40]}")
    return float(value)


def flag(record: Mapping[str, Any], key: str) -> bool:
    """Read true or false; a missing key is false."""
    value = record.get(key, False)
    if type(value) is not bool:
        raise FormatError(f"{key!r} must be true or false, not {str(value)[:40]}")
    return value


def mapping(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Read an object; a missing key is an empty one."""
    value = record.get(key, {})
    if not isinstance(value, dict):
        raise FormatError(f"{key!r} must be an object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _finite(word: str) -> float:
    value = float(word)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{word} is beyond a float")
    return value
