"""Indices coded by levels of rows and columns: as short as these say, the same in both readers, and sound."""

from pathlib import Path

import numpy as np
import pytest
import torch
from extended_files import closed, opened, sound
from hostile import Tensors, read, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader import ans_by_class, bounds, spread_of
from second_reader import decode as second_decode
from test_classes import ranked
from test_every_coding import Drawn, coded
from test_extensions import draw, write

from momos_compress import load_file
from momos_compress.coding import spread as spread_module
from momos_compress.coding import spread_search
from momos_compress.coding.class_stream import decode_by_class, encode_by_class
from momos_compress.coding.index_model import IndexModel
from momos_compress.coding.index_spread import MAX_CLASSES, Spread, most_spread_bytes, read_spread
from momos_compress.coding.protocol import Grid
from momos_compress.coding.registry import get_coding
from momos_compress.coding.spread import MAX_SPREAD_MOTIFS
from momos_compress.coding.spread_counts import CODES, codes_for, codes_from, counts_of, symbols_of
from momos_compress.coding.spread_search import blocks_of, find_spread, stream_bits
from momos_compress.mosaic.blocks import FLAT, Layout

FEATURES = ["layout", "scales", "codebook8", "ans", "bundle", "spread"]


def any_spread(grids: dict[str, Grid], k: int, seed: int = 0) -> Spread:
    """Levels and counts that nothing speaks for."""
    random = np.random.default_rng(seed)
    classes = int(random.integers(2, MAX_CLASSES + 1))
    codes = random.integers(0, CODES, (classes, k)).astype(np.uint8)
    codes[np.arange(classes), random.integers(0, k, classes)] = 1
    zero = int(random.integers(classes))
    rows = {name: random.integers(0, classes, grid[0]).astype(np.uint8) for name, grid in grids.items()}
    columns = {
        name: random.integers(0, 2 * classes, width) if height > 1 else np.array([zero])
        for name, (height, width) in grids.items()
    }
    return Spread(codes, grids, rows, {name: own.astype(np.uint8) for name, own in columns.items()}, zero)


def laplace(grids: dict[str, Grid], k: int, *, decades: float, seed: int = 0) -> Drawn:
    """Laplace values, rounded to k levels, whose rows and columns each differ in size by so many decades."""
    random, values = np.random.default_rng(seed), {}
    for name, (height, width) in grids.items():
        rows, columns = (10 ** random.uniform(-decades / 2, decades / 2, n) for n in (height, width))
        drawn = np.rint(random.laplace(0, 4 * rows[:, None] * columns)).reshape(-1)
        values[name] = (np.clip(drawn, -(k // 2), (k - 1) // 2) + k // 2).astype(np.int32)
    return Drawn(k, ranked(values, k), dict(grids))


def stored_bytes(indices: Drawn, coding: str) -> int:
    encoded, streams = coded(indices, get_coding(coding))
    assert encoded.coding == coding
    return sum(map(len, encoded.tables.values())) + sum(map(len, streams.values()))


def entropy_bytes(blocks: np.ndarray) -> float:
    """Bytes of the blocks of each class, (classes, k), at the entropy of what the class holds."""
    share = blocks / np.maximum(blocks.sum(axis=1, keepdims=True), 1)
    return -float((blocks * np.log2(np.where(blocks > 0, share, 1))).sum()) / 8


def test_levels_are_the_same_however_many_threads_and_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = laplace({"a": (40, 30), "b": (1, 500)}, 16, decades=1.5)

    def found() -> bytes:
        spread = find_spread(drawn.grids, lambda name: np.concatenate(list(drawn.read(name))), 16, drawn.usage)
        return spread.to_bytes()

    whole = found()
    monkeypatch.setattr(spread_search, "_PIECE", 90)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert found() == whole


# The streams


def test_the_example_of_the_document() -> None:
    spread = Spread(
        np.array([[72, 70], [71, 72]], dtype=np.uint8),
        {"w": (2, 3)},
        {"w": np.array([0, 1], dtype=np.uint8)},
        {"w": np.array([1, 1, 0], dtype=np.uint8)},
        zero=1,
    )
    assert symbols_of(spread.codes).tolist() == [[0, 3], [1, 2]]
    assert counts_of(spread.codes).tolist() == [[27 << 17, 19 << 17], [23 << 17, 27 << 17]]
    assert spread.to_bytes().hex() == "0201040202ffffffffffff80ffbe1c2b2703000000"
    assert spread.classes("w").tolist() == [[0, 0, 0], [1, 1, 0]]
    models = [IndexModel(counts) for counts in counts_of(spread.codes)]
    data = encode_by_class(models, spread.classes("w").reshape(-1), np.array([0, 0, 0, 1, 0, 1]))
    assert data.hex() == "f7e30007"
    document = (Path(__file__).resolve().parents[2] / "docs" / "format.md").read_text()
    assert "`0201 040202 ffffffff ffff 80ff be1c2b27 03000000`" in document
    assert "`f7e30007`" in document


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=4),
    st.sampled_from([2, 3, 17, 300]),
    st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=40)
def test_plain_integers_read_the_same(sizes: list[Grid], k: int, seed: int) -> None:
    grids = {f"w{i}": size for i, size in enumerate(sizes)}
    spread = any_spread(grids, k, seed)
    stored = spread.to_bytes()
    assert len(stored) <= most_spread_bytes(k, grids)
    back, (counts, classes) = read_spread(stored, k, grids), spread_of(stored, k, grids)
    assert counts_of(back.codes).tolist() == counts == counts_of(spread.codes).tolist()
    limits, models = [bounds(own) for own in counts], [IndexModel(own) for own in counts_of(back.codes)]
    lengths = [24 - np.log2(np.diff(own)) for own in limits]
    assert np.allclose(back.bits(), lengths, atol=1e-5)
    for name, (height, width) in grids.items():
        kinds = back.classes(name)
        assert kinds.shape == (height, width)
        assert kinds.reshape(-1).tolist() == spread.classes(name).reshape(-1).tolist() == classes[name]
        indices = np.random.default_rng(seed).integers(0, k, height * width).astype(np.int32)
        data = encode_by_class(models, kinds.reshape(-1), indices)
        assert decode_by_class(models, kinds.reshape(-1), data).tolist() == indices.tolist()
        assert ans_by_class(data, classes[name], limits) == indices.tolist()


def test_counts_are_within_a_quarter_of_an_octave() -> None:
    counts = counts_of(np.arange(CODES))
    assert counts[:6].tolist() == [0, 16, 19, 23, 27, 32]
    assert int(counts.max()) * MAX_SPREAD_MOTIFS < 2**39
    blocks = np.array([[10**6, 5000, 3000, 400, 100, 0, 0], [50, 20, 5000, 10**5, 9, 0, 0]])
    found = counts_of(codes_for(blocks))
    for own, counted in zip(blocks, found, strict=True):
        often = own >= 400
        octaves = np.log2(counted[often] / counted.max()) - np.log2(own[often] / own.max())
        assert np.abs(octaves).max() < 0.2
    random = np.random.default_rng(0).integers(0, CODES, (5, 40)).astype(np.uint8)
    assert codes_from(symbols_of(random)).tolist() == random.tolist()
    assert symbols_of(random).max() < CODES


# What it saves


def test_rows_and_columns_over_three_decades_save_what_they_tell() -> None:
    grids = {"a": (120, 400), "b": (300, 150), "c": (64, 576)}
    indices = laplace(grids, 301, decades=3)
    sizes = {coding: stored_bytes(indices, coding) for coding in ("ans", "classes", "spread")}
    assert sizes["spread"] < 0.96 * sizes["classes"]
    assert sizes["spread"] < 0.8 * sizes["ans"]


@pytest.mark.parametrize("k", [15, 301])
def test_streams_take_the_entropy_of_their_classes(k: int) -> None:
    indices = laplace({"a": (200, 300), "b": (100, 900)}, k, decades=2)
    encoded, streams = coded(indices, get_coding("spread"))
    classes = spread_of(encoded.tables["momos.spread"], k, dict(indices.grids))[1]  # type: ignore[arg-type]
    kinds = 1 + max(max(own) for own in classes.values())
    blocks = np.zeros((kinds, k), dtype=np.int64)
    for name, own in indices.arrays.items():
        np.add.at(blocks, (classes[name], own), 1)
    assert entropy_bytes(blocks) <= sum(map(len, streams.values())) < 1.01 * entropy_bytes(blocks)
    assert len(encoded.tables["momos.spread"]) < 0.03 * sum(map(len, streams.values()))


def test_the_search_is_of_use_by_itself() -> None:
    grids, k = {"a": (120, 400), "flat": (1, 3000)}, 63
    indices = laplace(grids, k, decades=2)
    spread = find_spread(grids, indices.arrays.__getitem__, k, indices.usage)
    assert spread.bits().shape == (len(spread.codes), k)
    assert {name: spread.classes(name).shape for name in grids} == grids
    assert len(set(spread.classes("flat").reshape(-1).tolist())) == 1
    by_hand = sum(float(spread.bits()[spread.classes(name).reshape(-1), own].sum(dtype=np.float64))
                  for name, own in indices.arrays.items())  # fmt: skip
    assert stream_bits(spread, blocks_of(spread, indices.arrays.__getitem__)) == pytest.approx(by_hand)
    again = find_spread(grids, indices.arrays.__getitem__, k, indices.usage)
    assert again.to_bytes() == spread.to_bytes()


@pytest.mark.parametrize("grid", [(1, 5000), (5000, 1), (2, 2500), (70, 70)])
def test_what_does_not_differ_is_coded_as_a_whole(grid: Grid) -> None:
    random, k = np.random.default_rng(0), 40
    share = 0.8 ** np.arange(k)
    drawn = {"w": random.choice(k, size=grid[0] * grid[1], p=share / share.sum()).astype(np.int32)}
    encoded, _ = coded(Drawn(k, ranked(drawn, k), {"w": grid}), get_coding("spread"))
    assert encoded.coding == "ans"


@pytest.mark.slow
def test_many_motifs() -> None:
    random, k = np.random.default_rng(0), MAX_SPREAD_MOTIFS
    values = {"w": random.integers(0, 1 + np.repeat([2, 90, k - 1], 100), (300, 300)[::-1]).T.reshape(-1)}
    indices = Drawn(k, ranked(values, k), {"w": (300, 300)})
    assert stored_bytes(indices, "spread") < 0.95 * stored_bytes(indices, "ans")


# The file


@given(
    st.sampled_from([Layout(3), Layout(20, transposed=True), Layout(1), Layout(60)]),
    st.sampled_from([FLAT, Layout(6), Layout(2)]),
    st.sampled_from([2, 3, 256, 257]),
    st.sampled_from([1, 3, 7]),
    st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=25)
def test_both_readers_agree_on_files(
    tmp_path_factory: pytest.TempPathFactory, first: Layout, second: Layout, k: int, s: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("x") / "x.momos.safetensors"
    state = {"a": draw((6, 4, 5), seed), "b": draw((6, 20), seed + 1).half(), "c": draw((5, 64), seed + 2)}
    with pytest.MonkeyPatch.context() as patch:
        always(patch, seed)
        file = write(
            path,
            state,
            layouts={"a": first, "b": second},
            motifs=np.random.default_rng(seed).standard_normal((k, s), dtype=np.float32),
            coding="spread",
            include=("*",),
        )
    if file.recipe.k > 1:
        assert {"ans", "spread", "bundle"} <= set(file.recipe.features)
    decoded, expected = load_file(path), second_decode(path)
    for name, tensor in state.items():
        assert torch.equal(decoded[name], torch.from_numpy(expected[name].copy()).to(tensor.dtype)), name


def always(patch: pytest.MonkeyPatch, seed: int = 0) -> None:
    """Writers take levels whether they save anything or not."""
    patch.setattr(spread_module, "find_spread", lambda grids, read, k, usage: any_spread(grids, k, seed))
    patch.setattr(spread_module, "_ans_bits", lambda indices: float("inf"))


# Hostile files


@pytest.fixture
def spread_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    always(monkeypatch)
    return sound(tmp_path / "sound", "spread")


def test_tables_that_are_not_theirs_are_refused(tmp_path: Path, spread_file: bytes) -> None:
    recipe, tensors = opened(spread_file)
    assert recipe["coding"] == "spread"
    assert isinstance(read(tmp_path / "x", closed(recipe, tensors, features=FEATURES)), dict)

    def told(data: bytes) -> str:
        other: Tensors = {**tensors, "momos.spread": ("U8", [len(data)], data)}
        return refused(tmp_path / "x", closed(recipe, other, features=FEATURES))

    good = tensors["momos.spread"][2]
    start = 5 + sum(good[2:5])
    for wrong in (
        *(b"", good[:4], good[:20], good[:-1]),
        *(bytes([classes]) + good[1:] for classes in (0, 1, 65, 255)),
        good[:1] + good[:1] + good[2:],
        *(good[:2] + bytes([size]) + good[3:] for size in (0, 1, 74)),
        good[:3] + bytes([good[0] + 1]) + good[4:],
        good[:4] + bytes([2 * good[0] + 1]) + good[5:],
    ):
        assert "is not that of 6 motifs" in told(wrong)
    assert "without weights" in told(good[:5] + bytes(good[2]) + good[5 + good[2] :])
    assert "does not end with the last" in told(good[:-4])
    assert "zero word behind" in told(good + bytes(4))
    assert "words of indices where" in told(good[:start])
    assert "longer than" in told(good + bytes(4000))
    rest = {name: tensor for name, tensor in tensors.items() if name != "momos.spread"}
    assert "momos.spread" in refused(tmp_path / "x", closed(recipe, rest, features=FEATURES))
    without = [feature for feature in FEATURES if feature != "ans"]
    assert "without 'ans'" in refused(tmp_path / "x", closed(recipe, tensors, features=without))


def test_a_class_without_counts_is_refused(tmp_path: Path, spread_file: bytes) -> None:
    recipe, tensors = opened(spread_file)
    grids = {"conv.weight": (4, 6), "embed.weight": (7, 2), "half.weight": (1, 7)}
    empty = any_spread(grids, 6)
    empty.codes[1] = 0
    data = empty.to_bytes()
    other: Tensors = {**tensors, "momos.spread": ("U8", [len(data)], data)}
    assert "a class without counts" in refused(tmp_path / "x", closed(recipe, other, features=FEATURES))


def test_any_byte_may_be_wrong(tmp_path: Path, spread_file: bytes) -> None:
    recipe, tensors = opened(spread_file)
    good, random, refusals = tensors["momos.spread"][2], np.random.default_rng(0), 0
    for _ in range(120):
        data = bytearray(good)
        data[random.integers(len(data))] ^= 1 << int(random.integers(8))
        other: Tensors = {**tensors, "momos.spread": ("U8", [len(data)], bytes(data))}
        refusals += isinstance(read(tmp_path / "x", closed(recipe, other, features=FEATURES)), str)
    assert refusals > 100  # most streams do not end where they should
