"""Damaged and hostile entropy-coded indices: FormatError in one line, or exactly the right tensors."""

from pathlib import Path

import pytest
import torch
from extended_files import Recipe, closed, opened
from hostile import read, refused

pytest_plugins = ["extended_files"]


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
