"""Damaged and hostile bundles: FormatError in one line, or exactly the right tensors."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from extended_files import closed, opened
from hostile import BOUNDED, changed, container, parse, refused

import momos_compress

pytest_plugins = ["extended_files"]


def test_a_bundle_that_is_missing_or_of_another_size(tmp_path: Path, coded: bytes) -> None:
    outer, stored = parse(coded)
    for name in ("momos.bundle", "momos.recipe"):
        dtype, shape, data = stored[name]
        for wrong in (
            None,
            ("I8", shape, data),
            ("U8", [1, *shape], data),
            (dtype, [shape[0] - 1], data[:-1]),
            (dtype, [shape[0] + 1], data + b"\0"),
        ):
            rest = {key: tensor for key, tensor in stored.items() if key != name}
            message = refused(tmp_path / "x", container(outer, rest if wrong is None else {**rest, name: wrong}))
            assert f"{name!r} is" in message or "recipe" in message


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "codebook"),
        ([], "'bundle' must be an object"),
        ({"F31": {}}, "unknown dtype 'F31'"),
        ({"U8": []}, "no names under it"),
        ({"U8": {"a": 5}}, "a: shape 5 is not a list"),
        ({"U8": {"a": None}}, "a: shape None"),
        ({"U8": {"a": [-1]}}, "a: shape"),
        ({"U8": {"a": [True]}}, "a: shape"),
        ({"U8": {"a": [1.0]}}, "a: shape"),
        ({"U8": {"a": [2**48]}}, "a: shape"),
        ({"U8": {"a": [2**40, 2**40]}}, "beyond any tensor's"),
        ({"U8": {"a": [0, 2**47, 2**47]}}, "beyond any tensor's"),
        ({"U8": {"a": [1] * 65}}, "beyond any tensor's"),
        ({"U8": {"a": [2**47], "b": [2**47]}}, "'momos.bundle' is U8"),
        ({"U8": {"a": [1]}, "I8": {"a": [1]}}, "names a tensor twice"),
        ({"U8": {"a.b": [1], "a": {"b": [1]}}}, "names a tensor twice"),
        ({"U8": {"\ud800": [1]}}, "no Unicode text"),
    ],
)
def test_a_table_that_lies(tmp_path: Path, coded: bytes, table: object, words: str) -> None:
    recipe, tensors = opened(coded)
    content = closed(json.dumps({**recipe, "bundle": table}), {} if table == {} else tensors)
    assert words in refused(tmp_path / "x", content)


def test_names_nested_without_end(tmp_path: Path, coded: bytes) -> None:
    recipe, tensors = opened(coded)
    for depth in (70, 900, 10**5):
        nested = '{"a":' * depth + "[1]" + "}" * depth
        refused(tmp_path / "x", closed(json.dumps(recipe)[:-1] + f',"bundle":{{"U8":{nested}}}}}', tensors))
        text = changed({**recipe, "bundle": {"U8": {"b": 0}}}, ("bundle", "U8", "b"), nested)
        refused(tmp_path / "x", closed(text, tensors))


def test_a_name_in_the_bundle_and_beside_it(tmp_path: Path, coded: bytes) -> None:
    recipe, tensors = opened(coded)
    for name in ("steps", "momos.codebook", "conv.weight"):
        content = closed(recipe, tensors, {name: tensors[name]})
        assert f"{name}: in the bundle, and beside it" in refused(tmp_path / "x", content)
    for name in ("momos.bundle", "momos.recipe"):
        content = closed(recipe, {**tensors, name: ("U8", [1], b"\0")})
        assert f"{name}: in the bundle, and beside it" in refused(tmp_path / "x", content)


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"null", b"[]", b"[" * 10**5, b"\xff", b'{"s":3,"s":3}', b"9" * 10**5, b" " * 10**8, b"[" * 10**7],
    ids=["nothing", "empty", "null", "list", "deep", "no text", "twice", "number", "white", "bomb"],
)
def test_a_deflated_recipe_that_is_none(tmp_path: Path, coded: bytes, text: bytes) -> None:
    outer, stored = parse(coded)
    data = zlib.compress(text, 9)
    refused(tmp_path / "x", container(outer, {**stored, "momos.recipe": ("U8", [len(data)], data)}))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS and /proc are Linux's")
def test_lies_about_size_cost_no_memory(tmp_path: Path, coded: bytes) -> None:
    recipe, tensors = opened(coded)
    files = {"sound": coded}
    for i, shape in enumerate([[2**20], [2**40], [2**47], [2**24, 2**23]]):
        values = int(np.prod(shape, dtype=np.float64))
        entry = {"shape": shape, "dtype": "float32", "distortion": 0}
        lying = {**recipe, "blocks": recipe["blocks"] + -(-values // 3), "tensors": {**recipe["tensors"], "v": entry}}
        for size in (0, 4, 64):
            files[f"stream {i} {size}"] = closed(lying, {**tensors, "v": ("U8", [size], bytes(size))})
    outer, stored = parse(coded)
    for name, text in (("zeros", bytes(10**8)), ("white", b" " * 6 * 10**7), ("deep", b"[" * 10**7)):
        data = zlib.compress(text, 9)
        files[name] = container(outer, {**stored, "momos.recipe": ("U8", [len(data)], data)})
    rows = {
        **recipe["tensors"],
        "v": {"shape": [2**40], "rows": 2**40, "scaled": True, "dtype": "float32", "distortion": 0},
    }
    files["rows"] = closed(
        {**recipe, "blocks": recipe["blocks"] + 2**40, "tensors": rows}, {**tensors, "v": ("U8", [4], bytes(4))}
    )
    runs = b"\5" + b"\xff\xff\xff\xff\xff\x7f"
    files["counts"] = closed(recipe, {**tensors, "momos.counts": ("U8", [len(runs)], runs)})
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.pop("sound")[0] == "loaded"
    assert {name: result for name, (result, _) in results.items()} == dict.fromkeys(results, "FormatError")
    assert max(seconds for _, seconds in results.values()) < 3


def test_reading_takes_time_in_proportion_to_the_tensors(tmp_path: Path, coded: bytes) -> None:
    recipe, tensors = opened(coded)
    many = {f"t.{i}": ("U8", [1], b"\1") for i in range(4000)}
    (tmp_path / "x").write_bytes(closed(recipe, {**tensors, **many}))
    assert len(momos_compress.load_file(tmp_path / "x")) == 4008
