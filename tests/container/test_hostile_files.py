"""Damaged and hostile containers: FormatError in one line, or exactly the right tensors; nothing else ever."""

import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from conftest import compress_version1, memory_checkpoint
from hostile import (
    BOUNDED,
    JSON_VALUES,
    Tensors,
    changed,
    container,
    digest,
    header_of,
    pack,
    parse,
    places,
    read,
    refused,
    safetensors,
    same,
)

import momos_compress
from momos_cli import app as cli
from momos_compress import FormatError, MomosError, load_file, load_model
from momos_compress.container.inspection import describe
from momos_compress.networks.export import export_dense
from momos_compress.sources.architecture import Architecture

SECONDS = 60
"""No single test here has a reason to take longer."""


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"still reading after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound container with something of everything: k = 6 of s = 3, padding bits, casts, an alias, no values."""
    draw = torch.Generator().manual_seed(0)
    tied = torch.randn(6, 7, generator=draw)
    state = {
        "conv.weight": torch.randn(3, 2, 3, 3, generator=draw),
        "embed.weight": tied,
        "head.weight": tied,
        "half.weight": torch.randn(4, 5, generator=draw).bfloat16(),
        "conv.bias": torch.randn(6, generator=draw),
        "exact": torch.randn(3, generator=draw).double() * 1e30,
        "steps": torch.tensor(12),
        "mask": torch.tensor([True, False]),
        "nothing": torch.zeros(0, 3),
    }
    path = tmp_path_factory.mktemp("sound") / "sound.safetensors"
    compress_version1(memory_checkpoint(state), path, k=6, s=3)
    return path.read_bytes()


@pytest.fixture(scope="module")
def expected(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    path = tmp_path_factory.mktemp("expected") / "sound.safetensors"
    path.write_bytes(raw)
    return load_file(path)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Tensors]:
    """Recipe and tensors of a compressed network, whose architecture the file names."""
    path = tmp_path_factory.mktemp("network") / "digits.safetensors"
    compress_version1(momos_compress.open_checkpoint("digits"), path, k=16, s=8)
    return parse(path.read_bytes())


def command_line(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["momos-compress", *words])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_both_implementations_agree(tmp_path: Path, raw: bytes, expected: dict[str, torch.Tensor]) -> None:
    recipe, tensors = parse(raw)
    assert same(read(tmp_path / "x", container(recipe, tensors)), expected)
    header, data = header_of(recipe, tensors)
    assert raw[8:].startswith(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    assert raw.endswith(data)


# Damage


@pytest.mark.parametrize("part", range(20))
def test_a_truncated_file(tmp_path: Path, raw: bytes, part: int) -> None:
    refused(tmp_path / "x", raw[: len(raw) * part // 20])


def test_a_byte_less_or_more(tmp_path: Path, raw: bytes) -> None:
    refused(tmp_path / "x", raw[:-1])
    refused(tmp_path / "x", raw + b"\0")


def test_single_bit_flips(tmp_path: Path, raw: bytes, expected: dict[str, torch.Tensor]) -> None:
    data = 8 + int.from_bytes(raw[:8], "little")
    draw = random.Random(0)
    places = {*range(64), *draw.sample(range(64, data), 150), *draw.sample(range(data, len(raw)), 60)}
    unnoticed = []
    for place in sorted(places):
        for bit in range(8):
            damaged = bytearray(raw)
            damaged[place] ^= 1 << bit
            if same(read(tmp_path / "x", bytes(damaged)), expected):
                unnoticed.append(place)
    # torch reads every other byte than 0 as True, so a flip there may change nothing.
    assert set(unnoticed) <= {len(raw) - 2, len(raw) - 1}


# The safetensors file


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\0" * 8,
        b"\0" * 4096,
        b"PK\x03\x04" + b"\0" * 60,
        b"\x80\x02}q\0." + b"\0" * 60,
        b"plain text, longer than eight bytes\n",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        (2**63 - 1).to_bytes(8, "little") + b"{}",
        (2**40).to_bytes(8, "little") + b"{}",
        (10**8).to_bytes(8, "little") + b"{}",
        safetensors(b"[" * 10**6, b""),
        safetensors(b'{"a":' * 10**5 + b"1" + b"}" * 10**5, b""),
        safetensors(b'{"__metadata__":{"format":"momos","recipe":5}}', b""),
        safetensors(b'{"__metadata__":{"format":"\xff"}}', b""),
        safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8),
    ],
)
def test_no_container_at_all(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path / "x", content)


def test_no_file_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FormatError, match=f"^{re.escape(str(path))}: "):
            load_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    def child() -> None:
        with pytest.raises(FormatError):
            load_file(tmp_path / "pipe")

    reader = multiprocessing.get_context("fork").Process(target=child)
    reader.start()
    reader.join(3)
    reader.kill()
    reader.join()
    assert reader.exitcode == 0


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"format": None}, "not a MoMos file"),
        ({"format": "MOMOS"}, "not a MoMos file"),
        ({"format": "pt"}, "not a MoMos file"),
        ({"format_version": None}, "format version None"),
        ({"format_version": "2"}, "format version '2'"),
        ({"format_version": "1.0"}, "format version '1.0'"),
        ({"format_version": "\n" * 100}, "format version"),
        ({"recipe": None}, "missing"),
        ({"recipe": ""}, "checksum"),
        ({"recipe": "{}"}, "checksum"),
        ({"checksums": None}, "missing"),
        ({"checksums": ""}, "checksums"),
        ({"checksums": "0" * 16}, "checksums"),
        ({"checksums": "z" * 144}, "checksum"),
    ],
)
def test_metadata(tmp_path: Path, raw: bytes, metadata: dict[str, str | None], words: str) -> None:
    assert words in refused(tmp_path / "x", container(*parse(raw), **metadata))


@pytest.mark.parametrize(
    "offsets",
    [[0, 8], [8, 0], [0, 2**62], [2**62, 2**63], [-4, 4], [2**63, 2**64 - 1], [0], [0, 4, 8], None, "x", [0.0, 4.0]],
)
def test_data_offsets_that_lie(tmp_path: Path, raw: bytes, offsets: object) -> None:
    header, data = header_of(*parse(raw))
    name = list(header)[-1]
    refused(tmp_path / "x", safetensors({**header, name: {**header[name], "data_offsets": offsets}}, data))


def test_tensors_that_overlap_or_leave_a_gap(tmp_path: Path, raw: bytes) -> None:
    header, data = header_of(*parse(raw))
    mosaics = [name for name, entry in header.items() if entry.get("dtype") == "U8"]
    shared = {**header, mosaics[1]: {**header[mosaics[1]], "data_offsets": header[mosaics[0]]["data_offsets"]}}
    refused(tmp_path / "x", safetensors(shared, data))
    gap = {
        name: entry if name == "__metadata__" else {**entry, "data_offsets": [end + 8 for end in entry["data_offsets"]]}
        for name, entry in header.items()
    }
    refused(tmp_path / "x", safetensors(gap, b"\0" * 8 + data))


def test_keys_that_stand_twice(tmp_path: Path, raw: bytes, expected: dict[str, torch.Tensor]) -> None:
    recipe, tensors = parse(raw)
    text = json.dumps(recipe)
    for twice in (
        text.replace('"s":', '"s": 3, "s":'),
        text.replace('"shape":', '"shape": [9], "shape":', 1),
        text.replace('"conv.weight":', '"conv.weight": {}, "conv.weight":', 1),
    ):
        assert "not JSON" in refused(tmp_path / "x", container(twice, tensors))
    header, data = header_of(recipe, tensors)
    for key in ("__metadata__", "conv.weight"):
        first = json.dumps({key: header[key]}, separators=(",", ":"))[:-1]
        rest = json.dumps(header, separators=(",", ":"))[1:]
        same(read(tmp_path / "x", safetensors(f"{first},{rest}".encode(), data)), expected)


# The recipe


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
            ("export", lambda: export_dense(path, tmp_path / "dense")),
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


# What only a decoder sees


def flat(indices: list[int], *, k: int, s: int, values: int, guard: bytes = b"") -> tuple[dict[str, Any], Tensors]:
    """A container with one parameter "w" of one dimension, written by hand."""
    bits = max(1, (k - 1).bit_length())
    book = torch.arange(k * s, dtype=torch.float32).numpy().tobytes()
    data = pack(indices, bits) + guard
    entry = {"shape": [values], "dtype": "float32", "blocks": [0, len(indices)], "distortion": 0}
    recipe = {"s": s, "k": k, "blocks": len(indices), "distortion": 0, "energy": 1, "tensors": {"w": entry}}
    return recipe, {"momos.codebook": ("F32", [k, s], book), "w": ("U8", [len(data)], data)}


@pytest.mark.parametrize("k", [1, 3, 5, 129, 257, 1000])
def test_an_index_beyond_the_codebook(tmp_path: Path, k: int) -> None:
    right = [0, k - 1, *[0] * 9]
    sound = {"w": torch.tensor(right).repeat_interleave(2) * 2.0 + torch.tensor([0.0, 1.0]).repeat(11)}
    assert same(read(tmp_path / "x", container(*flat(right, k=k, s=2, values=22))), sound)
    for place in (0, 10):
        for index in {k, (1 << max(1, (k - 1).bit_length())) - 1}:
            wrong = [*right[:place], index, *right[place + 1 :]]
            message = refused(tmp_path / "x", container(*flat(wrong, k=k, s=2, values=22)))
            assert message == f"w: index {index} where there are {k} motifs"


@pytest.mark.parametrize("bit", range(1, 8))
def test_a_padding_bit_that_is_set(tmp_path: Path, bit: int) -> None:
    recipe, tensors = flat([1, 0, 1, 1, 0, 0, 1, 1, 1], k=2, s=2, values=17)
    dtype, shape, data = tensors["w"]
    tensors["w"] = (dtype, shape, data[:-1] + bytes([data[-1] | 1 << bit]))
    assert "padding bit" in refused(tmp_path / "x", container(recipe, tensors))


def test_the_guard_byte_is_there_and_zero(tmp_path: Path) -> None:
    indices = list(range(200))
    sound = {"w": torch.arange(200, dtype=torch.float32)}
    assert same(read(tmp_path / "x", container(*flat(indices, k=200, s=1, values=200, guard=b"\0"))), sound)
    for bit in range(8):
        wrong = container(*flat(indices, k=200, s=1, values=200, guard=bytes([1 << bit])))
        assert "guard byte" in refused(tmp_path / "x", wrong)
    for guard in (b"", b"\0\0"):
        assert "U8 (201,)" in refused(tmp_path / "x", container(*flat(indices, k=200, s=1, values=200, guard=guard)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_codebook_that_is_not_finite(tmp_path: Path, dtype: str, value: float) -> None:
    recipe, tensors = flat([0, 1], k=2, s=2, values=4)
    kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    book = torch.tensor([[0, 1], [2, value]], dtype=kind).view(torch.uint8).numpy().tobytes()
    tensors["momos.codebook"] = (dtype, [2, 2], book)
    assert "not finite" in refused(tmp_path / "x", container(recipe, tensors))


@pytest.mark.parametrize(
    "book",
    [
        None,
        ("F32", [4], b"\0" * 16),
        ("F32", [2, 2, 1], b"\0" * 16),
        ("F32", [4, 1], b"\0" * 16),
        ("F64", [2, 2], b"\0" * 32),
        ("I32", [2, 2], b"\0" * 16),
        ("U8", [2, 2], b"\0" * 4),
        ("F8_E4M3", [2, 2], b"\0" * 4),
        ("C64", [2, 2], b"\0" * 32),
        ("F4", [2, 2], b"\0" * 2),
    ],
)
def test_a_codebook_that_does_not_fit(tmp_path: Path, book: tuple[str, list[int], bytes] | None) -> None:
    recipe, tensors = flat([0, 1], k=2, s=2, values=4)
    del tensors["momos.codebook"]
    if book is not None:
        tensors["momos.codebook"] = book
    assert "momos.codebook" in refused(tmp_path / "x", container(recipe, tensors)) or book is not None


@pytest.mark.parametrize(
    "mosaic",
    [
        None,
        ("U8", [0], b""),
        ("U8", [2], b"\0\0"),
        ("U8", [1, 1], b"\0"),
        ("U8", [], b"\0"),
        ("I8", [1], b"\0"),
        ("BOOL", [1], b"\0"),
        ("F16", [1], b"\0\0"),
        ("U9", [1], b"\0"),
    ],
)
def test_a_mosaic_that_does_not_fit(tmp_path: Path, mosaic: tuple[str, list[int], bytes] | None) -> None:
    recipe, tensors = flat([0, 1], k=2, s=2, values=4)
    del tensors["w"]
    if mosaic is not None:
        tensors["w"] = mosaic
    refused(tmp_path / "x", container(recipe, tensors))


@pytest.mark.parametrize(
    "shape",
    [
        *([0, 2**63], [0, 2**64 - 1], [0, 2**62, 2], [0, 2**32, 2**32], [0, 2**47, 2**47], [2**32, 2**32, 0]),
        *([2**32, 2**32], [2**63], [-1], [1.0], "x", None),
    ],
)
def test_a_stored_shape_beyond_any_tensor(tmp_path: Path, raw: bytes, shape: Any) -> None:
    recipe, tensors = parse(raw)
    header, data = header_of(recipe, {**tensors, "zz": ("U8", [0], b"")})
    header["zz"]["shape"] = shape
    digests = header["__metadata__"]["checksums"]
    sizes = ",".join(map(str, shape)) if isinstance(shape, list) else ""
    order = [name for name in header if name != "__metadata__"]
    start = 16 * order.index("zz")
    digests = digests[:start] + digest(f"zz\nU8\n{sizes}\n".encode()) + digests[start + 16 :]
    header["__metadata__"]["checksums"] = digests
    refused(tmp_path / "x", safetensors(header, data))


@pytest.mark.parametrize("ones", [60, 70, 5000])
def test_any_number_of_dimensions(tmp_path: Path, raw: bytes, expected: dict[str, torch.Tensor], ones: int) -> None:
    recipe, tensors = parse(raw)
    more = {**tensors, "deep": ("F32", [1] * ones, b"\0" * 4)}
    same(read(tmp_path / "x", container(recipe, more)), {**expected, "deep": torch.zeros([1] * ones)})


# Time and memory


def test_tensors_without_values_are_no_damage(tmp_path: Path, raw: bytes, expected: dict[str, torch.Tensor]) -> None:
    recipe, tensors = parse(raw)
    empty = {f"empty.{i}": torch.zeros(i, 0) for i in range(6)}
    more: Tensors = {**tensors, **{name: ("F32", list(tensor.shape), b"") for name, tensor in empty.items()}}
    for _ in range(10):
        assert same(read(tmp_path / "x", container(recipe, more)), {**expected, **empty})


def test_reading_takes_time_in_proportion_to_the_tensors(tmp_path: Path) -> None:
    recipe, tensors = flat([0, 1], k=2, s=2, values=4)
    many: Tensors = {**tensors, **{f"t{i}": ("U8", [1], b"\1") for i in range(4000)}}
    (tmp_path / "x").write_bytes(container(recipe, many))
    start = time.process_time()
    assert len(load_file(tmp_path / "x")) == 4001
    assert time.process_time() - start < 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS and /proc are Linux's")
def test_lies_about_size_cost_no_memory(tmp_path: Path, raw: bytes, network: tuple[dict[str, Any], Tensors]) -> None:
    recipe, tensors = parse(raw)
    entry = recipe["tensors"]["half.weight"]
    files: dict[str, bytes] = {"sound": raw}
    for i, shape in enumerate(
        [[2**40], [2**47], [2**48], [2**24, 2**24], [2**47, 2**47], [2**62, 4], [2**63, 2], [2**64], [10**300]]
    ):
        values = 1
        for size in shape:
            values *= size
        end = entry["blocks"][0] + -(-values // 3)
        lie = {**entry, "shape": shape, "blocks": [entry["blocks"][0], end]}
        lying = {**recipe, "blocks": end, "tensors": {**recipe["tensors"], "half.weight": lie}}
        files[f"shape {i}"] = container(lying, tensors)
        files[f"shape {i} alone"] = container({**lying, "blocks": recipe["blocks"]}, tensors)
    wide = {**tensors, "momos.codebook": ("F16", [2**24, 3], tensors["momos.codebook"][2])}
    files["codebook"] = container({**recipe, "k": 2**24}, wide)
    files["header length"] = (10**8).to_bytes(8, "little") + raw[8:]
    files["stored shape"] = container(recipe, {**tensors, "z": ("U8", [2**50], b"\0")})
    files["no values"] = container(recipe, {**tensors, "z": ("U8", [0, 2**62, 2], b"")})
    files["long number"] = container('{"s":' + "9" * 10**7 + "}", tensors)
    files["deep"] = container('{"s":' + "[" * 10**7 + "]" * 10**7 + "}", tensors)
    record = network[0]["architecture"]
    for key, value in (("num_classes", 10**10), ("in_chans", 10**10), ("num_classes", 10**8)):
        huge = {**record, "arguments": {key: value}}
        files[f"model {key} {value}"] = container({**network[0], "architecture": huge}, network[1])
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    results = json.loads(done.stdout.splitlines()[-1])
    assert results.pop("sound")[0] == "loaded"
    assert {name: result for name, (result, _) in results.items()} == {
        name: "MomosError" if name.startswith("model") else "FormatError" for name in results
    }
    assert max(seconds for _, seconds in results.values()) < 3


# The architecture record


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the network nor torch.load may be touched; pytest.fail ends such a test at once."""

    def asked(*arguments: object, **keywords: object) -> None:
        pytest.fail(f"the network was asked: {arguments[:3]}")

    def opened(path: object, *arguments: object, **keywords: object) -> None:
        pytest.fail(f"a file named in the container was opened: {path}")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", asked)
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr(torch, "load", opened)


def not_built(path: Path, network: tuple[dict[str, Any], Tensors], record: object) -> str:
    path.write_bytes(container({**network[0], "architecture": record}, network[1]))
    with pytest.raises(MomosError) as caught:
        load_model(path)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    "record", [5, 0, True, False, "", "resnet18", [], [1], {}, {"library": "os", "name": "system"}]
)
def test_a_record_that_is_none(tmp_path: Path, network: tuple[dict[str, Any], Tensors], record: object) -> None:
    assert "malformed" in not_built(tmp_path / "x", network, record)


@pytest.mark.parametrize(
    "arguments",
    [
        {"pretrained": True},
        {"checkpoint_path": "/etc/hostname"},
        {"pretrained_cfg": {"hf_hub_id": "evil/x"}},
        {"pretrained_cfg": "evil"},
        {"pretrained_cfg_overlay": {"file": "/etc/hostname"}},
        {"cache_dir": "/tmp"},
        {"features_only": True},
        {"scriptable": True},
        {"name": "resnet18"},
        {"model_name": "hf-hub:evil/x"},
        {"state_dict": {}},
        {"pretrained_filter_fn": "os.system"},
        {"model_cfg": {"a": 1}},
        {"num_classes": -1},
        {"num_classes": "ten"},
        {"num_classes": 11},
        {"in_chans": 2},
        {"depth": 14},
        {"depth": 10**30},
        {"nonsense": 1},
        {"weights_only": False},
    ],
)
@pytest.mark.usefixtures("isolated")
def test_timm_arguments_that_fetch_read_or_do_not_fit(
    tmp_path: Path, network: tuple[dict[str, Any], Tensors], arguments: dict[str, object]
) -> None:
    not_built(tmp_path / "x", network, {**network[0]["architecture"], "arguments": arguments})


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:evil/x",
        "hf_hub:evil/x",
        "local-dir:/tmp",
        "evil/x",
        "resnet18",
        "resnet18.a1_in1k",
        "",
        ".",
        "a\nb",
        "x",
    ],
)
@pytest.mark.usefixtures("isolated")
def test_timm_names_that_are_none(tmp_path: Path, network: tuple[dict[str, Any], Tensors], name: str) -> None:
    not_built(tmp_path / "x", network, {**network[0]["architecture"], "name": name})


@pytest.mark.parametrize(
    ("arguments", "words"), [({"output_stride": 7}, "fit"), ({"stem_type": 3}, "fit"), ({"block": "x"}, "fit")]
)
@pytest.mark.usefixtures("isolated")
def test_timm_arguments_that_trip_an_architecture(
    tmp_path: Path, network: tuple[dict[str, Any], Tensors], arguments: dict[str, object], words: str
) -> None:
    record = {"library": "timm", "name": "resnet18", "arguments": arguments, "preprocessing": {}}
    assert words in not_built(tmp_path / "x", network, record)


@pytest.mark.parametrize("value", ["x", -3, [1], {"a": 1}, 0, [["a"]]])
@pytest.mark.parametrize("key", ["input_size", "num_classes", "first_conv", "classifier", "mean", "crop_pct"])
@pytest.mark.usefixtures("isolated")
def test_preprocessing_that_makes_no_sense(
    tmp_path: Path, network: tuple[dict[str, Any], Tensors], key: str, value: object
) -> None:
    record = network[0]["architecture"]
    hostile = {**record, "preprocessing": {**record["preprocessing"], key: value}}
    path = tmp_path / "x"
    path.write_bytes(container({**network[0], "architecture": hostile}, network[1]))
    with contextlib.suppress(MomosError):
        model = load_model(path)
        assert same(dict(model.state_dict()), load_file(path))
        momos_compress.evaluate(model, "digits")


@pytest.mark.usefixtures("isolated")
def test_weights_are_not_left_random(tmp_path: Path, network: tuple[dict[str, Any], Tensors]) -> None:
    recipe, tensors = network
    lacking = {("other" if name == "bn1.weight" else name): tensor for name, tensor in tensors.items()}
    for arguments in ({}, {"pretrained_strict": False}):
        not_built(tmp_path / "x", (recipe, lacking), {**recipe["architecture"], "arguments": arguments})


BERT = {
    "model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
    "vocab_size": 10, "max_position_embeddings": 8,
}  # fmt: skip
DETR = {"model_type": "detr", "use_timm_backbone": True}


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("AutoModel", BERT),
        ("pipeline", BERT),
        ("PreTrainedModel", BERT),
        ("", BERT),
        ("evil/x", BERT),
        ("BertModel", {**BERT, "auto_map": {"AutoModel": "evil/x--modeling.Model", "AutoConfig": "evil/x--c.Config"}}),
        ("BertModel", {**BERT, "_name_or_path": "evil/x", "name_or_path": "evil/x"}),
        ("BertModel", {**BERT, "attn_implementation": "evil/x", "_attn_implementation": "evil/x"}),
        ("BertModel", {**BERT, "quantization_config": {"quant_method": "evil"}}),
        ("BertModel", {**BERT, "dtype": "evil"}),
        ("BertModel", {**BERT, "dtype": 5}),
        ("BertModel", {**BERT, "hidden_size": "x"}),
        ("BertModel", {**BERT, "hidden_size": 0}),
        ("BertModel", {**BERT, "hidden_size": -1}),
        ("BertModel", {**BERT, "vocab_size": 0}),
        ("BertModel", {**BERT, "model_type": "evil"}),
        ("BertModel", {**BERT, "model_type": ["bert"]}),
        ("BertModel", {**BERT, "model_type": None}),
        ("BertModel", {**BERT, "cls": 1}),
        ("TimmWrapperModel", {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/x"}),
        ("TimmWrapperForImageClassification", {"model_type": "timm_wrapper", "architecture": "hf-hub:evil/x"}),
        (
            "TimmWrapperModel",
            {
                "model_type": "timm_wrapper",
                "architecture": "resnet18",
                "model_args": {"checkpoint_path": "x.pth"},
            },
        ),
        ("TimmBackbone", {"model_type": "timm_backbone", "backbone": "hf-hub:evil/x"}),
        ("DetrForObjectDetection", {**DETR, "backbone": "hf-hub:evil/x", "use_pretrained_backbone": True}),
        ("DetrForObjectDetection", {**DETR, "backbone": "evil/x", "use_timm_backbone": False}),
        (
            "DetrForObjectDetection",
            {"model_type": "detr", "backbone_config": {"model_type": "timm_backbone", "backbone": "hf-hub:evil/x"}},
        ),
    ],
)
@pytest.mark.usefixtures("isolated")
def test_transformers_records_that_fetch_run_code_or_do_not_fit(
    tmp_path: Path,
    network: tuple[dict[str, Any], Tensors],
    name: str,
    config: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    Path("x.pth").write_bytes(b"\x80\x02cposix\nsystem\nX\x0e\x00\x00\x00touch executed\x85R.")
    not_built(tmp_path / "x", network, {"library": "transformers", "name": name, "arguments": config})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.pth"]


def test_nested_configurations_lose_what_could_fetch_run_code_or_name_a_place() -> None:
    inner = {
        **BERT,
        "auto_map": {"AutoModel": "evil/x--m.M"},
        "_name_or_path": "/home/somebody/model",
        "_attn_implementation": "evil/kernel",
        "attn_implementation": "evil/kernel",
        "quantization_config": {"quant_method": "evil"},
    }
    config = {"model_type": "clip", "text_config": inner, "parts": [inner, {"deeper": inner}]}
    record = {"library": "transformers", "name": "CLIPModel", "arguments": config}
    kept = json.dumps(Architecture.from_json(record).to_json())
    for word in ("evil", "somebody", "auto_map", "attn_implementation"):
        assert word not in kept
    assert "hidden_size" in kept
