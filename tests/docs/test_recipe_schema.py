"""docs/recipe.schema.json against real recipes, read without the library, and against recipes that are wrong."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import memory_checkpoint
from hostile import JSON_VALUES, changed, container, parse, places, read
from jsonschema import Draft202012Validator
from second_reader import contents, stored_tensors

from momos_compress import Settings, compress
from momos_compress.coding.registry import CODINGS as CODINGS_OF_INDICES

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs" / "recipe.schema.json").read_text())
WHOLE = Draft202012Validator(SCHEMA)
STUB = Draft202012Validator({"$ref": "#/$defs/stub", "$defs": SCHEMA["$defs"]})
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.momos.safetensors"))

CODINGS: dict[str, dict[str, Any]] = {
    "the first version": {"coding": "packed", "codebook_dtype": "float16", "protocol": "paper"},
    "packed": {"coding": "packed"},
    "ans": {"coding": "ans", "codebook_dtype": "int8"},
    "classes": {"coding": "classes", "codebook_dtype": "int8"},
    "radix": {"coding": "radix", "codebook_dtype": "int8", "k": 12},
}


def problems(recipe: Any, schema: Draft202012Validator = WHOLE) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(recipe)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each coding, of weights whose columns differ, beside vectors, a tied weight and a counter."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 256, generator=draw) * torch.randn(256, generator=draw).exp()
    state = {
        "fc.weight": weight,
        "tied.weight": weight,
        "conv.weight": torch.randn(8, 4, 3, 3, generator=draw),
        "half.weight": torch.randn(6, 5, generator=draw).bfloat16(),
        "norm.weight": torch.rand(64, generator=draw) + 0.5,
        "steps": torch.tensor(12),
    }
    checkpoint = memory_checkpoint(state, parameters=tuple(name for name in state if name.endswith("weight"))[:1])
    directory, paths = tmp_path_factory.mktemp("files"), {}
    for name, settings in CODINGS.items():
        paths[name] = directory / f"{name}.momos.safetensors"
        calibrate = {} if "protocol" in settings else {"calibrate": "none"}
        capacity = {} if "k" in settings else {"c": 0.05}
        compress(checkpoint, Settings(bdm=False, **capacity, **calibrate, **settings), paths[name])
    # So few blocks have no spread that is worth its table.
    (paths["spread"],) = (path for path in GOLDEN if path.name == "extensions_spread.momos.safetensors")
    return paths


def test_the_schema_is_sound() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_golden_files(path: Path) -> None:
    assert problems(contents(path)[1]) == []


def test_files_of_every_coding_and_feature(written: dict[str, Path]) -> None:
    features, codings = set(), set()
    for path in (*written.values(), *GOLDEN):
        _, recipe = contents(path)
        assert problems(recipe) == [], path.name
        stub = json.loads(stored_tensors(path)[1]["recipe"])
        assert ("bundle" in recipe.get("features", [])) == (problems(stub, STUB) == []), path.name
        features |= set(recipe.get("features", []))
        codings.add(recipe.get("coding", "packed"))
    assert codings == set(CODINGS_OF_INDICES)
    assert features == set(SCHEMA["$defs"]["features"]["items"]["enum"])


def test_the_schema_and_the_document_name_the_same_features_and_keys() -> None:
    document = (ROOT / "docs" / "format.md").read_text()
    assert set(re.findall(r"^### `(\w+)`$", document, re.M)) == set(SCHEMA["$defs"]["features"]["items"]["enum"])
    table = document.split("**The recipe:**")[1].split("\ndtypes are torch's names")[0]
    named = {key for row in re.findall(r"^\| (`.*?) \|", table, re.M) for key in re.findall(r"`(\w+)`", row)}
    assert named == set(SCHEMA["properties"])


Change = Callable[[dict[str, Any]], Any]
FIRST = "fc.weight"
WRONG: dict[str, tuple[str, Change]] = {
    "no block size": ("packed", lambda r: r.pop("s")),
    "no tensors": ("packed", lambda r: r.pop("tensors")),
    "blocks of 65": ("packed", lambda r: r.update(s=65)),
    "no motif": ("packed", lambda r: r.update(k=0)),
    "k as text": ("packed", lambda r: r.update(k="9")),
    "k as truth": ("packed", lambda r: r.update(k=True)),
    "k beyond 2^24": ("packed", lambda r: r.update(k=2**24 + 1)),
    "blocks below zero": ("packed", lambda r: r.update(blocks=-1)),
    "negative distortion": ("packed", lambda r: r.update(distortion=-0.5)),
    "infinite energy": ("packed", lambda r: r.update(energy=float("inf"))),
    "tensors as a list": ("packed", lambda r: r.update(tensors=[])),
    "an entry without a shape": ("packed", lambda r: r["tensors"][FIRST].pop("shape")),
    "an entry without distortion": ("packed", lambda r: r["tensors"][FIRST].pop("distortion")),
    "an entry without blocks": ("the first version", lambda r: r["tensors"][FIRST].pop("blocks")),
    "an empty size": ("packed", lambda r: r["tensors"][FIRST].update(shape=[0, 4])),
    "33 dimensions": ("packed", lambda r: r["tensors"][FIRST].update(shape=[1] * 33)),
    "an integer dtype": ("packed", lambda r: r["tensors"][FIRST].update(dtype="int8")),
    "torch's prefix": ("packed", lambda r: r["tensors"][FIRST].update(dtype="torch.float32")),
    "half a range": ("packed", lambda r: r["tensors"][FIRST].update(blocks=[0])),
    "no rows": ("packed", lambda r: r["tensors"][FIRST].update(rows=0)),
    "rows as text": ("packed", lambda r: r["tensors"][FIRST].update(rows="8")),
    "scaled without rows": ("packed", lambda r: r["tensors"][FIRST].pop("rows")),
    "transposed without rows": (
        "packed",
        lambda r: r["tensors"][FIRST].update(transposed=True, scaled=False, rows=None),
    ),
    "a transposed vector": ("packed", lambda r: r["tensors"][FIRST].update(transposed=True, shape=[4])),
    "scaled as a number": ("packed", lambda r: r["tensors"][FIRST].update(scaled=1)),
    "columns without scaled rows": (
        "packed",
        lambda r: (r["features"].append("columns"), r["tensors"][FIRST].update(columns=True, scaled=False)),
    ),
    "columns as a number": (
        "packed",
        lambda r: (r["features"].append("columns"), r["tensors"][FIRST].update(columns=1)),
    ),
    "an unknown feature": ("packed", lambda r: r["features"].append("wavelets")),
    "a feature that is no list": ("packed", lambda r: r.update(features="layout")),
    "a cast from integers": ("packed", lambda r: r.update(cast={"int64": "*"})),
    "a cast of a word": ("packed", lambda r: r.update(cast={"float32": "all"})),
    "an alias of nothing": ("packed", lambda r: r.update(aliases={"x": None})),
    "capacity above 1": ("packed", lambda r: r.update(capacity=1.5)),
    "an architecture of nobody": ("packed", lambda r: r.update(architecture={"library": "x", "name": "y"})),
    "no step": ("ans", lambda r: r.pop("codebook_step")),
    "a step of zero": ("ans", lambda r: r.update(codebook_step=0)),
    "a step beyond float32": ("ans", lambda r: r.update(codebook_step=1e39)),
    "no coding": ("ans", lambda r: r.pop("coding")),
    "another coding": ("ans", lambda r: r.update(coding="classes")),
    "one motif, coded": ("ans", lambda r: r.update(k=1)),
    "too many motifs to code": ("ans", lambda r: r.update(k=2**20 + 1)),
    "17 motifs as digits": ("radix", lambda r: r.update(k=17)),
    "digits under another name": ("radix", lambda r: r.update(coding="packed")),
    "digits and ans": ("radix", lambda r: r["features"].append("ans")),
    "ans for classes": ("classes", lambda r: r.update(coding="ans")),
    "classes without ans": ("classes", lambda r: r["features"].remove("ans")),
    "ans for a spread": ("spread", lambda r: r.update(coding="ans")),
    "a spread under ans": ("ans", lambda r: r.update(coding="spread")),
    "a spread without ans": ("spread", lambda r: r["features"].remove("ans")),
    "a spread and classes": ("spread", lambda r: r["features"].append("classes")),
    "a spread of too many motifs": ("spread", lambda r: r.update(k=2**16 + 1)),
    "a bundle of torch's dtypes": ("ans", lambda r: r.update(bundle={"uint8": {"x": [1]}})),
    "a bundle without shapes": ("ans", lambda r: r.update(bundle={"U8": {"x": None}})),
    "a negative size in the bundle": ("ans", lambda r: r.update(bundle={"U8": {"x": {"y": [-1]}}})),
    "bytes of integers": ("ans", lambda r: r.update(affine8={"int8": "*"})),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_recipes_are_refused(written: dict[str, Path], name: str) -> None:
    coding, change = WRONG[name]
    recipe = copy.deepcopy(contents(written[coding])[1])
    assert problems(recipe) == []
    change(recipe)
    assert problems(recipe) != []


@pytest.mark.parametrize("name", ["extensions_packed", "columns"])
@pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES)
def test_what_the_schema_refuses_the_reader_refuses(tmp_path: Path, value: str, name: str) -> None:
    # These have no bundle, and the layout, scales, int8 motifs or columns; entries that only describe are not read.
    (path,) = (path for path in GOLDEN if path.name == f"{name}.momos.safetensors")
    recipe, tensors = parse(path.read_bytes())
    tried = 0
    for place in places(recipe):
        if place[0] in ("method", "seed"):
            continue
        text = changed(recipe, place, value)
        try:
            refused = bool(problems(json.loads(text)))
        except (ValueError, RecursionError):
            refused = True
        # The reader takes null, and for features anything empty, as a key that is absent.
        if refused and value != "null" and not (place == ("features",) and value in ("0", '""', "{}")):
            tried += 1
            assert isinstance(read(tmp_path / "x", container(text, tensors)), str), (place, value)
    assert tried or value in ("null", "zero")


def test_the_other_golden_entries_that_describe_have_types(written: dict[str, Path]) -> None:
    for key, value in {"seed": -1, "zero_motif": 1, "versions": {"torch": 2}, "source": "x", "method": None}.items():
        recipe = {**contents(written["packed"])[1], key: value}
        assert [message.split(":")[0] for message in problems(recipe)] == [
            f"$.{key}.torch" if key == "versions" else f"$.{key}"
        ]
