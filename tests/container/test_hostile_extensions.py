"""Damaged and hostile files that use the extensions: FormatError in one line, or exactly the right tensors."""

import json
import random
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint
from hostile import BOUNDED, JSON_VALUES, Tensors, changed, container, parse, places, read, refused, same

import momos_compress
from momos_compress import load_file
from momos_compress.compression.describe import describe_run
from momos_compress.container.assembly import recipe_of, stored_tensors
from momos_compress.container.writer import write_container
from momos_compress.fitting.projection import project
from momos_compress.fitting.row_scales import RowScales
from momos_compress.mosaic.blocks import Layout
from momos_compress.planning.plan import plan
from momos_compress.settings import Settings

Recipe = dict[str, Any]
ITEM_BYTES = {"F64": 8, "I64": 8, "F32": 4, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "BOOL": 1}


def sound(path: Path, coding: str) -> bytes:
    """A sound file with every extension: k = 6 of s = 3, int8 motifs, rows, one transposed, scales, an alias."""
    draw = torch.Generator().manual_seed(0)
    tied = torch.randn(6, 7, generator=draw)
    state = {
        "conv.weight": torch.randn(4, 2, 3, 3, generator=draw),
        "embed.weight": tied,
        "head.weight": tied,
        "half.weight": torch.randn(4, 5, generator=draw).bfloat16(),
        "conv.bias": torch.randn(6, generator=draw),
        "steps": torch.tensor(12),
        "mask": torch.tensor([True, False]),
        "nothing": torch.zeros(0, 3),
    }
    checkpoint = memory_checkpoint(state)
    work = plan(checkpoint, Settings(k=6, s=3, codebook_dtype="int8", coding=coding))  # type: ignore[arg-type]
    mosaic = project(
        checkpoint,
        work.selection.chosen,
        np.random.default_rng(0).standard_normal((6, 3), dtype=np.float32),
        codebook_dtype="int8",
        rows={
            "conv.weight": RowScales(Layout(4), torch.tensor([190, 192, 192, 197], dtype=torch.uint8)),
            "embed.weight": RowScales(Layout(7, transposed=True)),
        },
        keep_unused=True,
        energy=1.0,
        sampled_blocks=0,
    )
    stored, kept = stored_tensors(checkpoint.tensors, mosaic, coding, passthrough=work.settings.passthrough)  # type: ignore[arg-type]
    write_container(
        path, stored, recipe_of(mosaic, kept, aliases=checkpoint.tensors.aliases, extra=describe_run(checkpoint, work))
    )  # type: ignore[arg-type]
    return path.read_bytes()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return sound(tmp_path_factory.mktemp("packed") / "sound", "packed")


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return sound(tmp_path_factory.mktemp("coded") / "sound", "ans")


@pytest.fixture(scope="module")
def expected(packed: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    path = tmp_path_factory.mktemp("expected") / "sound"
    path.write_bytes(packed)
    return load_file(path)


def opened(raw: bytes) -> tuple[Recipe, Tensors]:
    """The inner recipe, and the bundled tensors one by one."""
    _, stored = parse(raw)
    recipe = json.loads(zlib.decompress(stored["momos.recipe"][2]))
    data, offset, tensors = stored["momos.bundle"][2], 0, {}

    def walk(names: dict[str, Any], dtype: str, above: tuple[str, ...]) -> None:
        nonlocal offset
        for part, inner in names.items():
            if isinstance(inner, dict):
                walk(inner, dtype, (*above, part))
            else:
                size = ITEM_BYTES[dtype] * int(np.prod(inner, dtype=np.int64))
                tensors[".".join((*above, part))] = (dtype, inner, data[offset : offset + size])
                offset += size

    for dtype, names in recipe["bundle"].items():
        walk(names, dtype, ())
    return recipe, tensors


def closed(recipe: Recipe | str, tensors: Tensors, beside: Tensors | None = None, **features: Any) -> bytes:
    """A file with this inner recipe and these bundled tensors, whose table is made to fit unless the recipe is text."""
    data = b""
    if isinstance(recipe, dict):
        table: dict[str, dict[str, list[int]]] = {}
        for name, (dtype, shape, _) in tensors.items():
            table.setdefault(dtype, {})[name] = shape
        recipe = json.dumps({**recipe, "bundle": table})
        data = b"".join(tensors[name][2] for names in table.values() for name in names)
    else:
        data = b"".join(part for _, _, part in tensors.values())
    text = zlib.compress(recipe.encode("utf-8", "surrogatepass"))
    own: Tensors = {"momos.bundle": ("U8", [len(data)], data), "momos.recipe": ("U8", [len(text)], text)}
    return container({"features": FEATURES, **features}, {**own, **(beside or {})})


FEATURES = ["layout", "scales", "codebook8", "ans", "bundle"]


def test_the_files_are_sound_and_can_be_taken_apart(
    tmp_path: Path, packed: bytes, coded: bytes, expected: dict[str, torch.Tensor]
) -> None:
    assert same(read(tmp_path / "x", coded), expected)
    assert same(read(tmp_path / "x", container(*parse(packed))), expected)
    recipe, tensors = opened(coded)
    assert same(read(tmp_path / "x", closed(recipe, tensors)), expected)
    # A reader does not ask that what is small be bundled.
    beside = {name: tensors[name] for name in ("momos.codebook", "momos.counts", "conv.weight", "steps")}
    rest = {name: tensor for name, tensor in tensors.items() if name not in beside}
    assert same(read(tmp_path / "x", closed(recipe, rest, beside)), expected)


def test_truncated_files(tmp_path: Path, coded: bytes) -> None:
    for part in range(20):
        refused(tmp_path / "x", coded[: len(coded) * part // 20])
    refused(tmp_path / "x", coded[:-1])


def test_single_bit_flips(tmp_path: Path, coded: bytes, expected: dict[str, torch.Tensor]) -> None:
    places = random.Random(0).sample(range(len(coded)), 250)
    for place in places:
        for bit in (0, 3, 7):
            damaged = bytearray(coded)
            damaged[place] ^= 1 << bit
            # Every byte is under a checksum or in the header, where white space alone may change.
            assert not same(read(tmp_path / "x", bytes(damaged)), expected)


@pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES)
def test_any_value_anywhere(
    tmp_path: Path, packed: bytes, coded: bytes, expected: dict[str, torch.Tensor], value: str
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
            same(found, expected)
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


# Entropy coding


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coding": None}, "'coding' must be"),
        ({"coding": "huffman"}, "'coding' must be"),
        ({"coding": ["ans"]}, "'coding' must be"),
        ({"k": 1}, "1 motifs cannot be coded"),
        ({"k": 2**20 + 1}, "motifs cannot be coded"),
        ({"k": 7}, "codebook"),
    ],
)
def test_a_coding_that_lies(tmp_path: Path, coded: bytes, change: Recipe, words: str) -> None:
    recipe, tensors = opened(coded)
    assert words in refused(tmp_path / "x", closed({**recipe, **change}, tensors))


@pytest.mark.parametrize(
    "counts",
    [b"", b"\1", b"\5\7", b"\5\5", b"\0\6", b"\5\1\0\5", b"\5\6\1", b"\5\x86\0", b"\5\x86", b"\xff" * 12, b"\1" * 73],
)
def test_counts_that_are_damaged(tmp_path: Path, coded: bytes, counts: bytes) -> None:
    recipe, tensors = opened(coded)
    tensors["momos.counts"] = ("U8", [len(counts)], counts)
    assert "counts" in refused(tmp_path / "x", closed(recipe, tensors))
    for wrong in (("I8", [2], b"\5\6"), ("U8", [1, 2], b"\5\6"), None):
        del tensors["momos.counts"]
        if wrong is not None:
            tensors["momos.counts"] = wrong
        assert "'momos.counts' is" in refused(tmp_path / "x", closed(recipe, {**tensors}))
        tensors["momos.counts"] = ("U8", [2], b"\5\6")


def test_streams_that_are_damaged(tmp_path: Path, coded: bytes) -> None:
    recipe, tensors = opened(coded)
    dtype, _, stream = tensors["conv.weight"]
    for wrong in (b"", stream[:-4], stream[4:], stream + stream[:4], stream + bytes(4), stream[:-1], stream + b"\0"):
        damaged = {**tensors, "conv.weight": (dtype, [len(wrong)], wrong)}
        assert "conv.weight" in refused(tmp_path / "x", closed(recipe, damaged))
    for other in (("I8", [len(stream)], stream), ("U8", [1, len(stream)], stream)):
        assert "conv.weight" in refused(tmp_path / "x", closed(recipe, {**tensors, "conv.weight": other}))
    # No bit can change without the stream ending elsewhere, or other indices coming out.
    before = read(tmp_path / "x", coded)
    assert isinstance(before, dict)
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        found = read(tmp_path / "x", closed(recipe, {**tensors, "conv.weight": (dtype, [len(stream)], bytes(flipped))}))
        assert isinstance(found, str) or not torch.equal(found["conv.weight"], before["conv.weight"])


def test_the_guard_byte(tmp_path: Path, coded: bytes) -> None:
    recipe, tensors = opened(coded)
    stream = bytes(4)  # any number of blocks up to 256 of the first motif
    for values, sizes in ((4, {5}), (5, {4}), (40, {4})):
        entry = {"shape": [values], "dtype": "float32", "distortion": 0}
        blocks = recipe["blocks"] + -(-values // 3)
        more = {**recipe, "blocks": blocks, "tensors": {**recipe["tensors"], "v": entry}}
        for size in range(9):
            data = stream.ljust(size, b"\0")[:size]
            found = read(tmp_path / "x", closed(more, {**tensors, "v": ("U8", [size], data)}))
            assert isinstance(found, dict) == (size in sizes), (values, size)
    entry = {"shape": [4], "dtype": "float32", "distortion": 0}
    more = {**recipe, "blocks": recipe["blocks"] + 2, "tensors": {**recipe["tensors"], "v": entry}}
    wrong = {**tensors, "v": ("U8", [5], stream + b"\1")}
    assert "v: the guard byte is not zero" in refused(tmp_path / "x", closed(more, wrong))


# The bundle


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
