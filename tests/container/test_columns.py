"""Scales of columns: what is written is read by both readers, and what is malformed is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from column_files import COLUMNS, LAYOUTS, drawn_state, write_columns
from conftest import memory_checkpoint
from extended_files import closed, opened
from hostile import JSON_VALUES, Tensors, changed, container, parse, places, read, refused
from second_reader import contents, scale
from second_reader import decode as second_decode

from momos_compress import MomosError, MomosFile, load_file
from momos_compress.container.assembly import recipe_of, stored_tensors
from momos_compress.container.writer import write_container
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.mosaic import MosaicBuilder
from momos_compress.tensors.records import TensorInfo

FEATURES = ["layout", "scales", "ans", "bundle", "affine8", "columns"]
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "columns.momos.safetensors"


@pytest.mark.parametrize(("coding", "bundled"), [("packed", None), ("packed", True), ("ans", None), ("ans", False)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("s", [1, 4, 7])
def test_both_readers_agree(tmp_path: Path, s: int, dtype: torch.dtype, coding: str, bundled: bool | None) -> None:
    path, state = tmp_path / "x.momos.safetensors", drawn_state(dtype)
    file = write_columns(path, state, s=s, coding=coding, bundled=bundled)
    assert "columns" in file.recipe.features
    assert ("bundle" in file.recipe.features) == (bundled is True or (bundled is None and coding == "ans"))
    decoded, expected = load_file(path), second_decode(path)
    assert set(decoded) == set(state)
    for name in LAYOUTS:
        assert decoded[name].dtype == dtype
        assert decoded[name].is_contiguous()
        assert torch.equal(decoded[name], torch.from_numpy(expected[name].copy()).to(dtype)), name
    stored = contents(path)[0]["momos.columns"].tolist()
    assert stored == [code for name in COLUMNS for code in file.column_codes(name).tolist()]
    assert [len(file.column_codes(name)) for name in LAYOUTS] == [11, 0, 0, 27, 5]
    # The vector beside them takes a byte a value; the codes, bytes too, are no such vector.
    assert torch.allclose(decoded["norm.bias"], state["norm.bias"], rtol=0.02)
    assert set(file.recipe.affine8) == {"norm.bias"}


def test_a_file_without_columns_holds_nothing_of_them(tmp_path: Path) -> None:
    file = write_columns(tmp_path / "x", drawn_state(torch.float32), s=4, columns=())
    assert file.recipe.features == ("layout", "scales", "affine8")
    assert b"columns" not in (tmp_path / "x").read_bytes()
    assert not any(len(file.column_codes(name)) for name in LAYOUTS)


def write_golden(path: Path) -> dict[str, torch.Tensor]:
    """Two parameters with scales of columns, one of them transposed, and one between them without."""
    motifs = torch.tensor([[1.1, -2], [0, 0], [0.3, 64]]).half()
    infos = (
        TensorInfo("conv.weight", (2, 3), torch.float32),
        TensorInfo("rows.weight", (2, 2), torch.float32),
        TensorInfo("turned.weight", (3, 2), torch.bfloat16),
    )
    codes = {name: torch.tensor(values, dtype=torch.uint8) for name, values in CODES.items()}
    builder = MosaicBuilder(3)
    builder.add(infos[0], np.array([0, 2, 2, 0]), 0.5, Layout(2), codes["conv rows"], codes["conv columns"])
    builder.add(infos[1], np.array([0, 1]), 0.25, Layout(2), codes["rows rows"])
    turned = Layout(2, transposed=True)
    builder.add(infos[2], np.array([0, 1, 2, 2]), 0.125, turned, codes["turned rows"], codes["turned columns"])
    mosaic = builder.finish(motifs, keep_unused=True, energy=8, sampled_blocks=0)
    stored, kept = stored_tensors(memory_checkpoint({"steps": torch.tensor(12)}).tensors, mosaic)
    write_container(path, stored, recipe_of(mosaic, kept, aliases={}, extra={"method": "random", "seed": 0}))
    a, b, c, d = (np.float32(value) for value in (*motifs[0].tolist(), *motifs[2].tolist()))
    conv = scaled([[a, b, c], [c, d, a]], CODES["conv rows"], CODES["conv columns"])
    rows = scaled([[a, b], [0, 0]], CODES["rows rows"], [192, 192])
    turned_values = scaled([[a, b, 0], [c, d, c]], CODES["turned rows"], CODES["turned columns"]).T
    return {
        "conv.weight": torch.from_numpy(conv),
        "rows.weight": torch.from_numpy(rows),
        "turned.weight": torch.from_numpy(turned_values.copy()).bfloat16(),
        "steps": torch.tensor(12),
    }


CODES = {
    "conv rows": [186, 186],
    "conv columns": [186, 192, 190],
    "rows rows": [200, 190],
    "turned rows": [187, 197],
    "turned columns": [0, 255, 199],
}


def scaled(values: Any, rows: list[int], columns: list[int]) -> np.ndarray:
    matrix = np.array(values, dtype=np.float32)
    matrix *= np.array([[scale(code)] for code in rows])
    matrix *= np.array([scale(code) for code in columns])
    return matrix


def test_golden_bytes_pin_the_extension(tmp_path: Path) -> None:
    expected = write_golden(tmp_path / "x")
    decoded = load_file(GOLDEN)
    assert decoded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert decoded[name].dtype == tensor.dtype
        assert torch.equal(decoded[name], tensor), name
    assert (tmp_path / "x").read_bytes() == GOLDEN.read_bytes()
    # The order of the products matters in it.
    golden = MomosFile(GOLDEN)
    motifs = golden.codebook[golden.indices("conv.weight")].reshape(2, 4)[:, :3].numpy()
    rows, columns = (np.array([scale(code) for code in CODES[f"conv {of}"]]) for of in ("rows", "columns"))
    for other in (motifs * (rows[:, None] * columns), motifs * columns * rows[:, None]):
        assert np.allclose(other, decoded["conv.weight"].numpy())
        assert not np.array_equal(other, decoded["conv.weight"].numpy())


def test_the_example_of_the_document(tmp_path: Path) -> None:
    book = np.array([[1, -2], [4, 0.5]], dtype="<f2").tobytes()
    entry = {"shape": [2, 3], "dtype": "float32", "blocks": [0, 4], "distortion": 0}
    entry |= {"rows": 2, "scaled": True, "columns": True}
    recipe = {"s": 2, "k": 2, "blocks": 4, "distortion": 0, "energy": 1, "tensors": {"w": entry}}
    tensors: Tensors = {
        "momos.codebook": ("F16", [2, 2], book),
        "momos.scales": ("U8", [2], bytes.fromhex("b8c0")),
        "momos.columns": ("U8", [3], bytes.fromhex("c8c0b0")),
        "w": ("U8", [1], bytes.fromhex("06")),
    }
    found = read(tmp_path / "x", container({**recipe, "features": ["layout", "scales", "columns"]}, tensors))
    assert isinstance(found, dict)
    assert found["w"].tolist() == [[1, -1, 0.5], [8, 0.5, 0.25]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("plain") / "x"
    write_columns(path, drawn_state(torch.float32), s=1)
    return path.read_bytes()


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("bundled") / "x"
    write_columns(path, drawn_state(torch.float32), s=1, coding="ans")
    return path.read_bytes()


@pytest.mark.parametrize(
    "columns",
    [
        None,
        ("U8", [42], bytes(42)),
        ("U8", [44], bytes(44)),
        ("U8", [0], b""),
        ("I8", [43], bytes(43)),
        ("U8", [43, 1], bytes(43)),
    ],
)
def test_columns_that_do_not_fit(
    tmp_path: Path, plain: bytes, bundled: bytes, columns: tuple[str, list[int], bytes] | None
) -> None:
    for recipe, tensors, in_bundle in ((*parse(plain), False), (*opened(bundled), True)):

        def write(own: Tensors, recipe: Any = recipe, in_bundle: bool = in_bundle) -> bytes:
            return closed(recipe, own, features=FEATURES) if in_bundle else container(recipe, own)

        assert isinstance(read(tmp_path / "x", write(tensors)), dict)
        del tensors["momos.columns"]
        if columns is not None:
            tensors["momos.columns"] = columns
        stored = "missing" if columns is None else f"{columns[0]} {tuple(columns[1])}"
        assert f"'momos.columns' is {stored}, not U8 (43,)" in refused(tmp_path / "x", write(tensors))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("dense.weight", {"rows": None}, "^dense.weight: scaled, and it has no rows"),
        (
            "dense.weight",
            {"rows": None, "scaled": False},
            "^dense.weight: its columns are scaled, and its rows are not",
        ),
        ("dense.weight", {"scaled": False}, "^dense.weight: its columns are scaled, and its rows are not"),
        ("flat.weight", {"columns": True}, "^flat.weight: its columns are scaled, and its rows are not"),
        ("rows.weight", {"columns": True}, r"'momos.columns' is U8 \(43,\), not U8 \(48,\)"),
        ("dense.weight", {"columns": False}, r"'momos.columns' is U8 \(43,\), not U8 \(32,\)"),
        ("dense.weight", {"columns": 1}, "'columns' must be true or false"),
        ("dense.weight", {"columns": "yes"}, "'columns' must be true or false"),
        ("dense.weight", {"columns": [192]}, "'columns' must be true or false"),
    ],
)
def test_entries_that_lie(tmp_path: Path, plain: bytes, name: str, change: dict[str, Any], words: str) -> None:
    recipe, tensors = parse(plain)
    assert isinstance(read(tmp_path / "x", container(recipe, tensors)), dict)
    recipe["tensors"][name] |= change
    assert re.search(words, refused(tmp_path / "x", container(recipe, tensors)))


def test_columns_need_the_features_of_rows_and_scales(tmp_path: Path, plain: bytes) -> None:
    recipe, tensors = parse(plain)
    for features in (["columns"], ["layout", "columns"], ["scales", "columns"]):
        refused(tmp_path / "x", container({**recipe, "features": features}, tensors))


def test_any_value_anywhere_in_an_entry(tmp_path: Path, plain: bytes) -> None:
    recipe, tensors = parse(plain)
    for place in (("tensors", "dense.weight", *inner) for inner in places(recipe["tensors"]["dense.weight"])):
        for value in JSON_VALUES.values():
            read(tmp_path / "x", container(changed(recipe, place, value), tensors))  # another error than ours fails


def test_the_name_is_the_formats_own_only_where_the_feature_is_used(tmp_path: Path) -> None:
    state = drawn_state(torch.float32) | {"momos.columns": torch.rand(43) + 0.5}
    file = write_columns(tmp_path / "x", state, s=4, coding="ans", columns=())
    assert file.recipe.affine8["momos.columns"] == torch.float32
    assert torch.allclose(file.get("momos.columns"), state["momos.columns"], rtol=0.05)
    with pytest.raises(MomosError, match=r"'momos\.columns' cannot be stored.*rename it"):
        write_columns(tmp_path / "y", state, s=4)


def test_columns_are_no_tensor_of_the_checkpoint(tmp_path: Path, bundled: bytes) -> None:
    (tmp_path / "x").write_bytes(bundled)
    file = MomosFile(tmp_path / "x")
    assert "momos.columns" in file.entries
    assert "momos.columns" not in file
    with pytest.raises(KeyError):
        file.get("momos.columns")
    with pytest.raises(KeyError):
        file.column_codes("norm.bias")
    recipe, tensors = opened(bundled)
    aliased = {**recipe, "aliases": {"a": "momos.columns"}}
    assert "alias" in refused(tmp_path / "x", closed(aliased, tensors, features=FEATURES))


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (None, torch.zeros(5, dtype=torch.uint8)),
        (torch.zeros(3, dtype=torch.uint8), torch.zeros(6, dtype=torch.uint8)),  # the padding's too
        (torch.zeros(3, dtype=torch.uint8), torch.zeros(5)),
    ],
)
def test_the_builder_takes_no_other_columns(rows: torch.Tensor | None, columns: torch.Tensor) -> None:
    info = TensorInfo("w", (3, 5), torch.float32)
    with pytest.raises(ValueError, match=r"^w: columns torch"):
        MosaicBuilder(1).add(info, np.zeros(9, np.int32), 0.0, Layout(3), rows, columns)


def test_the_recipe_says_which_parameters_have_columns(tmp_path: Path, plain: bytes) -> None:
    recipe, _ = parse(plain)
    assert [name for name, entry in recipe["tensors"].items() if entry.get("columns")] == list(COLUMNS)
    (tmp_path / "x").write_bytes(plain)
    assert json.loads(MomosFile(tmp_path / "x").recipe.to_json()) == recipe
