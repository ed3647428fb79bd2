"""Hostile files cost neither time nor memory beyond what their bytes are worth."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile import (
    BOUNDED,
    Tensors,
    container,
    parse,
    read,
    same,
)
from sound_files import flat

from momos_compress import load_file

pytest_plugins = ["sound_files"]
pytestmark = pytest.mark.usefixtures("no_hang")


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
