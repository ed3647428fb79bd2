"""Sound files of version 1 as fixtures, which the tests of hostile ones change, and what those tests share.

PYTEST_DONT_REWRITE, as nothing is asserted here.
"""

import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest
import torch
from conftest import compress_version1, memory_checkpoint
from hostile import (
    Tensors,
    pack,
    parse,
)

import momos_compress
from momos_cli import app as cli
from momos_compress import load_file

SECONDS = 60
"""No single test here has a reason to take longer."""


@pytest.fixture
def no_hang() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"still reading after {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of the processor: others' load is no hang
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


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


def flat(indices: list[int], *, k: int, s: int, values: int, guard: bytes = b"") -> tuple[dict[str, Any], Tensors]:
    """A container with one parameter "w" of one dimension, written by hand."""
    bits = max(1, (k - 1).bit_length())
    book = torch.arange(k * s, dtype=torch.float32).numpy().tobytes()
    data = pack(indices, bits) + guard
    entry = {"shape": [values], "dtype": "float32", "blocks": [0, len(indices)], "distortion": 0}
    recipe = {"s": s, "k": k, "blocks": len(indices), "distortion": 0, "energy": 1, "tensors": {"w": entry}}
    return recipe, {"momos.codebook": ("F32", [k, s], book), "w": ("U8", [len(data)], data)}
