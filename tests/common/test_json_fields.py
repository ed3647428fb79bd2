"""Fields of JSON objects that are not trusted."""

from collections.abc import Callable
from typing import Any

import pytest

from momos_compress import FormatError
from momos_compress.common.json_fields import flag, integer, mapping, number, parse_object


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', "[" * 10**5])
def test_what_is_no_object_is_told(text: str) -> None:
    with pytest.raises(FormatError, match="the note is not"):
        parse_object(text, "the note")


def test_an_object_is_read() -> None:
    assert parse_object('{"a": [1, 2.5, {"b": null}]}', "the note") == {"a": [1, 2.5, {"b": None}]}


READERS: dict[str, tuple[Callable[[dict[str, Any]], Any], list[Any], list[Any]]] = {
    "integer": (lambda record: integer(record, "x", 1, 5), [1, 5], [0, 6, True, 2.0, "2", None, [2]]),
    "number": (lambda record: number(record, "x"), [0, 0.5, 10**6], [-1, True, "1", None, float("nan"), 1e300]),
    "flag": (lambda record: flag(record, "x"), [True, False], [0, 1, "true", []]),
    "mapping": (lambda record: mapping(record, "x"), [{}, {"a": 1}], [[], "a", 1, None]),
}


@pytest.mark.parametrize("kind", READERS)
def test_each_reader_takes_its_kind_alone(kind: str) -> None:
    read, good, bad = READERS[kind]
    for value in good:
        assert read({"x": value}) == value
    for value in bad:
        with pytest.raises(FormatError, match="'x' must be"):
            read({"x": value})


def test_what_may_be_absent() -> None:
    assert flag({}, "x") is False
    assert mapping({}, "x") == {}
    for required in (lambda: integer({}, "x", 0, 1), lambda: number({}, "x")):
        with pytest.raises(FormatError, match="'x' must be"):
            required()
