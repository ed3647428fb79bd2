"""Stored tensors that do not fit the recipe, or that only a decoder finds wrong: FormatError in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import (
    container,
    digest,
    header_of,
    parse,
    read,
    refused,
    safetensors,
    same,
)
from sound_files import flat

pytest_plugins = ["sound_files"]
pytestmark = pytest.mark.usefixtures("no_hang")


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
