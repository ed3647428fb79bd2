"""Indices coded by the classes of their rows and columns: as short as they say, the same in both readers, and sound."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_command
from extended_files import closed, opened
from hostile import JSON_VALUES, Tensors, changed, parse, read, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader import ans_by_class, class_models, classes_of
from second_reader import decode as second_decode
from test_extensions import draw, write

from momos_compress import FormatError, MomosFile, load_file
from momos_compress.coding import classes as classes_module
from momos_compress.coding.class_search import find_classes
from momos_compress.coding.counts import read_counts, store_counts
from momos_compress.coding.index_classes import (
    BLOCK_CLASSES,
    LEVELS,
    ClassCoder,
    Grid,
    IndexClasses,
    groups_of,
    most_class_bytes,
    read_classes,
)
from momos_compress.coding.index_model import IndexModel
from momos_compress.mosaic.blocks import FLAT, Layout

FEATURES = ["layout", "scales", "codebook8", "ans", "bundle", "classes"]


def any_classes(grids: dict[str, Grid], counts: np.ndarray, seed: int = 0) -> IndexClasses:
    """Classes that nothing speaks for."""
    random = np.random.default_rng(seed)
    tables = random.integers(1, 256, (BLOCK_CLASSES, int(groups_of(counts)[-1]) + 1)).astype(np.uint8)
    rows, columns = (
        {name: random.integers(0, LEVELS, grid[axis]).astype(np.uint8) for name, grid in grids.items()}
        for axis in (0, 1)
    )
    return IndexClasses(tables, rows, columns)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers take classes whether they save anything or not."""
    monkeypatch.setattr(classes_module, "find_classes", lambda grids, counts, usage, read: any_classes(grids, counts))


def structured(grids: dict[str, Grid], k: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Indices whose size depends on row and column, most used motif first."""
    random = np.random.default_rng(seed)
    indices = {}
    for name, (rows, columns) in grids.items():
        scale = np.exp(random.normal(0, 1, (rows, 1)) + random.normal(0, 1, (1, columns)))
        indices[name] = np.minimum(random.exponential(scale * k / 20), k - 1).astype(np.int32).reshape(-1)
    return ranked(indices, k)


def ranked(indices: dict[str, np.ndarray], k: int) -> dict[str, np.ndarray]:
    """The same with the motifs in the order of a file, most used first."""
    usage = np.bincount(np.concatenate(list(indices.values())), minlength=k)
    rank = np.empty(k, dtype=np.int32)
    rank[np.argsort(-usage, kind="stable")] = np.arange(k)
    return {name: rank[found] for name, found in indices.items()}


def counted(indices: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Usage, and the counts as they are stored."""
    usage = np.bincount(np.concatenate(list(indices.values())), minlength=k)
    return usage, read_counts(store_counts(usage), k)


# The streams


def test_golden_classes() -> None:
    counts = np.array([3, 1])
    tables = np.full((BLOCK_CLASSES, 2), 255, dtype=np.uint8)
    tables[0], tables[8] = (255, 1), (1, 255)
    rows, columns = np.array([0, 2], dtype=np.uint8), np.array([0, 2, 2], dtype=np.uint8)
    classes = IndexClasses(tables, {"w": rows}, {"w": columns})
    stored, indices = classes.to_bytes(), [0, 0, 1, 0, 1, 1]
    assert classes.of("w").tolist() == [0, 2, 2, 6, 8, 8]
    assert stored[: BLOCK_CLASSES * 2] == tables.tobytes()
    # Rows take their classes 1 : 0 : 1, columns 1 : 0 : 2; then the stream of both.
    assert stored[18:].hex() == "ff01ff8001ff1fd70409"
    coder = ClassCoder(counts, classes)
    assert coder.encode("w", np.array(indices)).hex() == "a8490601"
    assert classes_of(stored, [3, 1], {"w": (2, 3)})["w"] == classes.of("w").tolist()
    assert class_models([3, 1], stored)[0][8] == [0, 1 + 3 * (2**24 - 2) // (3 + 255), 2**24]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=4),
    st.sampled_from([2, 3, 17, 300]),
    st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=60)
def test_plain_integers_read_the_same(sizes: list[Grid], k: int, seed: int) -> None:
    grids = {f"w{i}": size for i, size in enumerate(sizes)}
    indices = structured(grids, k, seed)
    _, counts = counted(indices, k)
    classes = any_classes(grids, counts, seed)
    stored = classes.to_bytes()
    assert len(stored) <= most_class_bytes(grids)
    back = read_classes(stored, counts, grids)
    second = classes_of(stored, counts.tolist(), grids)
    coder, models = ClassCoder(counts, back), class_models(counts.tolist(), stored)[0]
    for name, found in indices.items():
        assert back.of(name).tolist() == classes.of(name).tolist() == second[name]
        data = coder.encode(name, found)
        assert coder.decode(name, data).tolist() == found.tolist()
        assert ans_by_class(data, second[name], models) == found.tolist()


def test_groups_hold_about_as_many_blocks_each() -> None:
    assert groups_of(np.array([1] * 16)).tolist() == list(range(16))
    assert groups_of(np.array([1] * 64)).tolist() == [i // 4 for i in range(64)]
    assert groups_of(np.array([100, 1, 1, 0, 0])).tolist() == [0, 1, 1, 1, 1]
    assert groups_of(np.array([5, 3, 3, 0])).tolist() == [0, 1, 2, 3]


def test_rows_and_columns_that_differ_save_what_they_tell() -> None:
    k, grids = 200, {"a": (64, 150), "b": (32, 300), "c": (10, 16)}
    indices = structured(grids, k)
    usage, counts = counted(indices, k)
    classes = find_classes(grids, counts, usage, indices.__getitem__)
    assert classes is not None
    coder, model = ClassCoder(counts, classes), IndexModel(counts)
    plain = sum(len(model.encode([found], len(found))) for found in indices.values())
    classed = len(classes.to_bytes()) + sum(len(coder.encode(name, found)) for name, found in indices.items())
    assert classed < 0.95 * plain
    again = find_classes(grids, counts, usage, indices.__getitem__)
    assert again is not None
    assert again.to_bytes() == classes.to_bytes()


def test_rows_and_columns_that_do_not_differ_have_no_classes(tmp_path: Path) -> None:
    random, k = np.random.default_rng(0), 60
    indices = ranked({"w": random.integers(0, k, 40 * 50)}, k)
    usage, counts = counted(indices, k)
    assert find_classes({"w": (40, 50)}, counts, usage, indices.__getitem__) is None
    assert find_classes({}, counts, usage, indices.__getitem__) is None
    state, motifs = {"w": draw((8, 12))}, random.standard_normal((5, 4), dtype=np.float32)
    file = write(tmp_path / "x", state, layouts={"w": Layout(8)}, motifs=motifs, coding="classes")
    assert (file.recipe.coding, "classes" in file.recipe.features) == ("ans", False)


# The file


@given(
    st.sampled_from([Layout(3), Layout(20, transposed=True), Layout(1), Layout(60)]),
    st.sampled_from([FLAT, Layout(6), Layout(2)]),
    st.booleans(),
    st.sampled_from([2, 3, 256, 257]),
    st.sampled_from([1, 3, 7]),
    st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=40)
def test_both_readers_agree_on_files_with_classes(
    tmp_path_factory: pytest.TempPathFactory,
    first: Layout,
    second: Layout,
    scaled: bool,
    k: int,
    s: int,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("x") / "x.momos.safetensors"
    state = {"a": draw((6, 4, 5), seed), "b": draw((6, 20), seed + 1).half(), "c": draw((5, 64), seed + 2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            classes_module, "find_classes", lambda grids, counts, usage, read: any_classes(grids, counts, seed)
        )
        file = write(
            path,
            state,
            layouts={"a": first, "b": second},
            scaled=("a",) if scaled else (),
            motifs=np.random.default_rng(seed).standard_normal((k, s), dtype=np.float32),
            coding="classes",
            include=("*",),
        )
    if file.recipe.k > 1:
        assert {"ans", "classes", "bundle"} <= set(file.recipe.features)
    decoded, expected = load_file(path), second_decode(path)
    for name, tensor in state.items():
        assert torch.equal(decoded[name], torch.from_numpy(expected[name].copy()).to(tensor.dtype)), name


@pytest.mark.slow
def test_the_demo_is_smaller_and_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reports = {}
    for coding in ("ans", "classes"):
        words = ("digits", "--c", "0.02", "--no-bdm", "--coding", coding, "-o", f"{coding}.momos.safetensors", "--json")
        code, out, err = run_command(capsys, monkeypatch, *words)
        assert code == 0, err
        reports[coding] = json.loads(out)
    files = {coding: MomosFile(f"{coding}.momos.safetensors") for coding in reports}
    assert files["classes"].recipe.coding == "classes"
    assert reports["classes"]["file_bytes"] < 0.97 * reports["ans"]["file_bytes"]
    one, other = (load_file(file.path) for file in files.values())
    assert all(torch.equal(one[name], other[name]) for name in one)
    bits = {coding: report["index_bits_per_block"] for coding, report in reports.items()}
    assert bits["classes"] < bits["ans"]
    start = ("--data", "digits-train", "--teacher", "digits", "--batch-size", "256", "--json")
    code, out, err = run_command(capsys, monkeypatch, "finetune", "classes.momos.safetensors", *start, "-o", "run")
    assert code == 0, err
    assert MomosFile("run/model.momos.safetensors").recipe.coding == "classes"
    assert json.loads(out)["file_bytes"] == pytest.approx(reports["classes"]["file_bytes"], rel=0.01)


# Hostile files


@pytest.fixture
def classed(tmp_path: Path, always: None) -> bytes:
    from extended_files import sound

    return sound(tmp_path / "sound", "classes")


def test_a_file_with_classes_can_be_taken_apart(tmp_path: Path, classed: bytes) -> None:
    recipe, tensors = opened(classed)
    assert recipe["coding"] == "classes"
    expected, found = read(tmp_path / "x", classed), read(tmp_path / "y", closed(recipe, tensors, features=FEATURES))
    assert isinstance(expected, dict)
    assert isinstance(found, dict)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_classes_that_are_not_theirs_are_refused(tmp_path: Path, classed: bytes) -> None:
    recipe, tensors = opened(classed)

    def told(data: bytes, dtype: str = "U8", shape: list[int] | None = None) -> str:
        other: Tensors = {**tensors, "momos.classes": (dtype, [len(data)] if shape is None else shape, data)}
        return refused(tmp_path / "x", closed(recipe, other, features=FEATURES))

    good = tensors["momos.classes"][2]
    assert "not those of" in told(b"")
    assert "not those of" in told(good[:20])
    assert "not those of" in told(good[:-1])
    assert "not those of" in told(b"\0" + good[1:])
    assert "does not end with the last" in told(good[:-4])
    assert "zero word behind" in told(good + bytes(4))
    assert "longer than" in told(good + bytes(4000))
    assert "momos.classes" in told(good, shape=[1, len(good)])
    assert "momos.classes" in told(good * 4, dtype="F32", shape=[len(good)])
    rest = {name: tensor for name, tensor in tensors.items() if name != "momos.classes"}
    assert "momos.classes" in refused(tmp_path / "x", closed(recipe, rest, features=FEATURES))


def test_coding_and_features_must_agree(tmp_path: Path, classed: bytes) -> None:
    recipe, tensors = opened(classed)
    without = [feature for feature in FEATURES if feature != "ans"]
    assert "without 'ans'" in refused(tmp_path / "x", closed(recipe, tensors, features=without))
    assert "must be 'classes'" in refused(
        tmp_path / "x", closed({**recipe, "coding": "ans"}, tensors, features=FEATURES)
    )
    for value in JSON_VALUES:
        text = changed(recipe, ("coding",), value)
        refused(tmp_path / "x", closed(text, tensors, features=FEATURES))


def test_too_many_blocks_for_classes_are_refused() -> None:
    with pytest.raises(FormatError, match=r"add up to 2\^31 or more"):
        read_classes(b"", np.array([2**31, 1]), {"w": (2, 2)})


def test_any_byte_may_be_wrong(tmp_path: Path, classed: bytes) -> None:
    recipe, tensors = opened(classed)
    good, random = tensors["momos.classes"][2], np.random.default_rng(0)
    refusals = 0
    for _ in range(150):
        data = bytearray(good)
        data[random.integers(len(data))] = random.integers(256)
        other: Tensors = {**tensors, "momos.classes": ("U8", [len(data)], bytes(data))}
        found = read(tmp_path / "x", closed(recipe, other, features=FEATURES))
        refusals += isinstance(found, str)
    assert refusals > 100  # most streams do not end where they should
    stored = parse(classed)[1]
    damaged = bytearray(classed)
    damaged[classed.index(stored["momos.bundle"][2]) + 5] ^= 1
    assert "checksum" in refused(tmp_path / "x", bytes(damaged))
