"""Damaged and hostile safetensors files: FormatError in one line, or exactly the right tensors; nothing else ever."""

import json
import multiprocessing
import os
import random
import re
from pathlib import Path

import pytest
import torch
from hostile import (
    container,
    header_of,
    parse,
    read,
    refused,
    safetensors,
    same,
)

from momos_compress import FormatError, load_file

pytest_plugins = ["sound_files"]
pytestmark = pytest.mark.usefixtures("no_hang")


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
