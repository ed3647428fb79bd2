"""Damaged and hostile files that use the extensions: FormatError in one line, or exactly the right tensors."""

import json
import random
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from extended_files import closed, opened
from hostile import JSON_VALUES, changed, container, parse, places, read, refused, same

pytest_plugins = ["extended_files"]


def test_the_files_are_sound_and_can_be_taken_apart(
    tmp_path: Path, packed: bytes, coded: bytes, expected_extended: dict[str, torch.Tensor]
) -> None:
    assert same(read(tmp_path / "x", coded), expected_extended)
    assert same(read(tmp_path / "x", container(*parse(packed))), expected_extended)
    recipe, tensors = opened(coded)
    assert same(read(tmp_path / "x", closed(recipe, tensors)), expected_extended)
    # A reader does not ask that what is small be bundled.
    beside = {name: tensors[name] for name in ("momos.codebook", "momos.counts", "conv.weight", "steps")}
    rest = {name: tensor for name, tensor in tensors.items() if name not in beside}
    assert same(read(tmp_path / "x", closed(recipe, rest, beside)), expected_extended)


def test_truncated_files(tmp_path: Path, coded: bytes) -> None:
    for part in range(20):
        refused(tmp_path / "x", coded[: len(coded) * part // 20])
    refused(tmp_path / "x", coded[:-1])


def test_single_bit_flips(tmp_path: Path, coded: bytes, expected_extended: dict[str, torch.Tensor]) -> None:
    places = random.Random(0).sample(range(len(coded)), 250)
    for place in places:
        for bit in (0, 3, 7):
            damaged = bytearray(coded)
            damaged[place] ^= 1 << bit
            # Every byte is under a checksum or in the header, where white space alone may change.
            assert not same(read(tmp_path / "x", bytes(damaged)), expected_extended)


@pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES)
def test_any_value_anywhere(
    tmp_path: Path, packed: bytes, coded: bytes, expected_extended: dict[str, torch.Tensor], value: str
) -> None:
    outer, tensors = parse(packed)
    inner, bundled = opened(coded)
    inner = json.loads(zlib.decompress(parse(coded)[1]["momos.recipe"][2]))
    escaped: list[str] = []
    files = [(place, container(changed(outer, place, value), tensors)) for place in places(outer)]
    files += [(place, closed(changed(inner, place, value), bundled)) for place in places(inner)]
    for place, content in files:
        try:
            found = read(tmp_path / "x", content)
        except Exception as error:
            escaped.append(f"{place}: {type(error).__name__}: {str(error)[:80]}")
            continue
        # What names other tensors, or how they decode, may make another sound file.
        if place[0] in ("s", "k", "blocks", "energy"):
            same(found, expected_extended)
    assert not escaped


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("tensors", "conv.weight", "rows"), 0, "no number of rows"),
        (("tensors", "conv.weight", "rows"), -4, "no number of rows"),
        (("tensors", "conv.weight", "rows"), 4.0, "no number of rows"),
        (("tensors", "conv.weight", "rows"), True, "no number of rows"),
        (("tensors", "conv.weight", "rows"), 2**48, "no number of rows"),
        (("tensors", "conv.weight", "rows"), 5, "does not give the blocks"),
        (("tensors", "conv.weight", "rows"), 8, "momos.scales|does not give"),
        (("tensors", "conv.weight", "rows"), None, "it has no rows|does not give"),
        (("tensors", "conv.weight", "transposed"), True, "transposed does not give the blocks"),
        (("tensors", "conv.weight", "transposed"), 1, "'transposed' must be true or false"),
        (("tensors", "embed.weight", "rows"), 6, "does not give the blocks"),
        (("tensors", "embed.weight", "rows"), None, "does not give the blocks"),
        (("tensors", "half.weight", "transposed"), True, "does not give the blocks"),
        (("tensors", "half.weight", "scaled"), True, "half.weight: scaled, and it has no rows"),
        (("tensors", "embed.weight", "scaled"), True, "'momos.scales' is U8 \\(4,\\), not U8 \\(11,\\)"),
        (("tensors", "conv.weight", "scaled"), "yes", "'scaled' must be true or false"),
        (("codebook_step",), 0, "codebook_step"),
        (("codebook_step",), -0.5, "codebook_step"),
        (("codebook_step",), 0.1, "float32"),
        (("codebook_step",), 1e39, "float32"),
        (("codebook_step",), 2**127, "not finite"),
        (("codebook_step",), None, "codebook_step"),
        (("codebook_step",), "1", "codebook_step"),
        (("features",), ["layout", "scales"], "the codebook is I8 .*not float"),
        (("features",), ["layout", "scales", "codebook8", "ans"], "'coding' must be 'ans', not 'None'"),
        (("features",), ["layout", "scales", "codebook8", "bundle"], "'momos.recipe' is missing"),
        (("features",), ["scales", "codebook8"], "does not give the blocks|no rows"),
        (("features",), ["layout", "scales", "codebook8", "wavelets"], r"\['wavelets'\]; upgrade"),
    ],
)
def test_a_recipe_that_lies(tmp_path: Path, packed: bytes, place: tuple[str, ...], value: object, words: str) -> None:
    recipe, tensors = parse(packed)
    inner: Any = recipe
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert re.search(words, refused(tmp_path / "x", container(recipe, tensors)))


@pytest.mark.parametrize(
    "scales",
    [None, ("U8", [3], b"\0" * 3), ("U8", [5], b"\0" * 5), ("I8", [4], b"\0" * 4), ("U8", [2, 2], b"\0" * 4)],
)
def test_scales_that_do_not_fit(
    tmp_path: Path, packed: bytes, coded: bytes, scales: tuple[str, list[int], bytes] | None
) -> None:
    for (recipe, tensors), write in ((parse(packed), container), (opened(coded), closed)):
        del tensors["momos.scales"]
        if scales is not None:
            tensors["momos.scales"] = scales
        assert "'momos.scales' is" in refused(tmp_path / "x", write(recipe, tensors))


def test_a_parameter_under_a_name_of_the_formats_own(tmp_path: Path, coded: bytes) -> None:
    recipe, tensors = opened(coded)
    for name in ("momos.scales", "momos.counts", "momos.codebook"):
        entry = {"shape": [12], "dtype": "float32", "distortion": 0}
        lying = {**recipe, "blocks": recipe["blocks"] + 4, "tensors": {**recipe["tensors"], name: entry}}
        assert "a name of the format's own" in refused(tmp_path / "x", closed(lying, tensors))
        assert "alias" in refused(tmp_path / "x", closed({**recipe, "aliases": {"a": name}}, tensors))
        assert "alias" in refused(tmp_path / "x", closed({**recipe, "aliases": {name: "steps"}}, tensors))
