"""Hostile recipes: FormatError in one line, or exactly the right tensors; nothing else ever."""

import json
import re
from pathlib import Path

import pytest
import torch
from hostile import (
    JSON_VALUES,
    changed,
    container,
    header_of,
    parse,
    places,
    read,
    refused,
    safetensors,
    same,
)
from sound_files import command_line

import momos_compress
from momos_compress import FormatError, MomosError
from momos_compress.container.inspection import describe
from momos_compress.networks.export import export

pytest_plugins = ["sound_files"]
pytestmark = pytest.mark.usefixtures("no_hang")


@pytest.mark.parametrize(
    "text",
    ["", "null", "5", "1e5", '"recipe"', "[]", "[{}]", "{", "{}", "{'s':3}", "\0", "NaN", '{"s":3,"k":6}', "9" * 10**6]
    + [opening * depth for opening in ("[", '{"a":') for depth in (900, 10**5, 10**6)]
    + ["[" * depth + "]" * depth for depth in (900, 10**5, 10**6)],
)
def test_a_recipe_that_is_no_object(tmp_path: Path, raw: bytes, text: str) -> None:
    refused(tmp_path / "x", container(text, parse(raw)[1]))


@pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES)
def test_any_value_anywhere_in_the_recipe(
    tmp_path: Path, raw: bytes, expected: dict[str, torch.Tensor], value: str
) -> None:
    recipe, tensors = parse(raw)
    recipe["later"] = {"unknown": 0}
    escaped: list[str] = []
    for place in places(recipe):
        try:
            found = read(tmp_path / "x", container(changed(recipe, place, value), tensors))
        except Exception as error:
            escaped.append(f"{place}: {type(error).__name__}: {str(error)[:80]}")
            continue
        # Other casts and aliases make another sound file: there any tensors will do.
        if place[0] not in ("cast", "aliases"):
            same(found, expected)
    assert not escaped


@pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES)
def test_any_descriptive_value_can_be_shown_and_exported(
    tmp_path: Path, raw: bytes, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, tensors = parse(raw)
    path = tmp_path / "x"
    escaped: list[str] = []
    for key in ("capacity", "method", "seed", "source", "architecture", "versions", "later"):
        path.write_bytes(container(changed(recipe, (key,), value), tensors))
        try:
            file = momos_compress.open_file(path)
        except FormatError:
            continue
        for name, show in (
            ("inspect", lambda: command_line(monkeypatch, "inspect", str(path))),
            ("inspect --json", lambda: json.dumps(describe(file), allow_nan=False)),  # noqa: B023
            ("export", lambda: export(path, tmp_path / "dense")),
        ):
            try:
                show()
            except MomosError:
                continue
            except Exception as error:
                escaped.append(f"{key}, {name}: {type(error).__name__}: {str(error)[:80]}")
    assert not escaped
    assert capsys.readouterr().out.replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["[/x]", "[bold]x", "\x1b[2J", "a\nb", "a\rb", "\u202eb", "\0", "", "__metadata__.x"])
def test_odd_names_are_shown_in_a_line_without_control_characters(
    tmp_path: Path, raw: bytes, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, tensors = parse(raw)
    path = tmp_path / "x"
    path.write_bytes(container(recipe, {**tensors, name: ("U8", [1], b"\1")}))
    assert command_line(monkeypatch, "inspect", str(path)) in (0, 2)
    shown = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in shown)
    if name.startswith("["):
        assert name in shown
    # A damaged tensor of that name is told in one line.
    header, data = header_of(recipe, {**tensors, name: ("U8", [1], b"\1")})
    refused(path, safetensors(header, data[:-1] + b"\2" if list(header)[-1] == name else bytes(len(data))))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("s",), 0, "'s'"),
        (("s",), 65, "'s'"),
        (("s",), 2, "codebook|blocks"),
        (("s",), 3.0, "'s'"),
        (("s",), True, "'s'"),
        (("k",), 0, "'k'"),
        (("k",), 5, "codebook"),
        (("k",), 7, "codebook"),
        (("k",), 2**24, "codebook"),
        (("k",), 2**24 + 1, "'k'"),
        (("blocks",), 38, "blocks"),
        (("blocks",), 10**18, "'blocks'"),
        (("distortion",), -1, "'distortion'"),
        (("energy",), None, "'energy'"),
        (("tensors", "conv.weight", "blocks"), [1, 19], "conv.weight"),
        (("tensors", "conv.weight", "blocks"), [0, 17], "conv.weight"),
        (("tensors", "conv.weight", "blocks"), [18, 0], "conv.weight"),
        (("tensors", "embed.weight", "blocks"), [17, 31], "embed.weight"),
        (("tensors", "conv.weight", "blocks"), [-18, 0], "conv.weight"),
        (("tensors", "conv.weight", "shape"), [3, 2, 3, 2], "conv.weight"),
        (("tensors", "conv.weight", "shape"), [3, 2, 3, 3, 0], "conv.weight"),
        (("tensors", "conv.weight", "shape"), [-3, -2, 3, 3], "conv.weight"),
        (("tensors", "conv.weight", "shape"), [3.0, 2, 3, 3], "conv.weight"),
        (("tensors", "conv.weight", "shape"), [54, *[1] * 5000], "conv.weight"),
        (("tensors", "conv.weight", "dtype"), "float31", "dtype"),
        (("tensors", "conv.weight", "dtype"), "int64", "dtype"),
        (("tensors", "conv.weight", "dtype"), "complex64", "dtype"),
        (("tensors", "conv.weight", "dtype"), "Float32", "dtype"),
        (("tensors", "conv.weight", "dtype"), "torch.float32", "dtype"),
        (("tensors", "conv.weight", "dtype"), "__class__", "dtype"),
        (("tensors", "conv.weight", "dtype"), ["float32"], "dtype"),
        (("tensors", "conv.weight", "dtype"), {"float32": 1}, "dtype"),
        (("tensors", "ghost.weight"), {"shape": [1], "dtype": "float32", "blocks": [39, 40]}, "ghost.weight"),
        (("cast",), {"float31": "*"}, "float31"),
        (("cast",), {"int64": ["conv.bias"]}, "int64"),
        (("cast",), {"float32": "*", "float64": "*"}, "twice"),
        (("cast",), {"float32": ["conv.weight"]}, "conv.weight"),
        (("cast",), {"float32": ["steps"]}, "steps"),
        (("cast",), {"float32": ["ghost"]}, "ghost"),
        (("cast",), {"float32": [["conv.bias"]]}, "conv.bias"),
        (("aliases",), {"a": "ghost"}, "ghost"),
        (("aliases",), {"a": "a"}, "alias"),
        (("aliases",), {"a": "embed.weight", "b": "a"}, "alias"),
        (("aliases",), {"conv.weight": "embed.weight"}, "conv.weight"),
        (("aliases",), {"a": "momos.codebook"}, "codebook"),
        (("aliases",), {"momos.codebook": "embed.weight"}, "codebook"),
        (("aliases",), {"a": 5}, "aliases"),
        (("features",), ["entropy-coded"], "entropy-coded.*upgrade"),
        (("features",), "entropy-coded", "entropy-coded.*upgrade"),
        (("features",), {"entropy-coded": 1}, "entropy-coded.*upgrade"),
        (("features",), "two\nlines", "upgrade"),
        (("features",), ["x"] * 10**5, "upgrade"),
    ],
)
def test_a_recipe_that_lies(
    tmp_path: Path, raw: bytes, network: object, place: tuple[str, ...], value: object, words: str
) -> None:
    recipe, tensors = parse(raw)
    if isinstance(value, dict) and "blocks" in value:
        value = {**value, "distortion": 0}
        recipe["blocks"] = value["blocks"][1]
        assert recipe["tensors"].pop("ghost.weight", None) is None
        recipe["tensors"]["ghost.weight"] = value
    text = changed(recipe, place, json.dumps(value))
    assert re.search(words, refused(tmp_path / "x", container(text, tensors)))
