"""Sound files with every extension, and such files taken apart and put together again.

PYTEST_DONT_REWRITE, as nothing is asserted here.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint
from hostile import Tensors, container, parse

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
FEATURES = ["layout", "scales", "codebook8", "ans", "bundle"]
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
def expected_extended(packed: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
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
