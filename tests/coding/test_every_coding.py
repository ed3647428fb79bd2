"""What every coding of indices keeps, for each entry of the table."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_extensions import draw, write

from momos_compress import FormatError, MomosError, load_file
from momos_compress.coding import registry
from momos_compress.coding.packed import PACKED
from momos_compress.coding.protocol import Encoded, IndexCoding, Indices, Part
from momos_compress.coding.registry import CODINGS, coding_with, get_coding, register_coding
from momos_compress.mosaic.blocks import Layout

PIECE = 64


@dataclass(frozen=True)
class Drawn:
    """Indices in memory, numbered by falling use, in pieces as a mosaic gives them."""

    k: int
    arrays: dict[str, np.ndarray]
    grids: dict[str, tuple[int, int] | None]

    @property
    def usage(self) -> np.ndarray:
        return np.bincount(np.concatenate(list(self.arrays.values())), minlength=self.k)

    @property
    def parts(self) -> Sequence[Part]:
        return [Part(name, len(array), self.grids[name]) for name, array in self.arrays.items()]

    def read(self, name: str, *, backwards: bool = False) -> Iterator[np.ndarray]:
        starts = range(0, len(self.arrays[name]), PIECE)
        for start in reversed(starts) if backwards else starts:
            yield self.arrays[name][start : start + PIECE]


def drawn(k: int, *, seed: int, even: bool = False) -> Drawn:
    """Indices of three parameters, one of them with rows; each of k motifs is used."""
    random = np.random.default_rng(seed)
    share = np.ones(k) if even else 0.8 ** np.arange(k) + 1e-3
    sizes = {"rows.weight": 20 * 30, "flat.weight": 333, "one": 1}
    arrays = {name: random.choice(k, size=size, p=share / share.sum()) for name, size in sizes.items()}
    arrays["rows.weight"][:k] = np.arange(k)
    order = np.argsort(-np.bincount(np.concatenate(list(arrays.values())), minlength=k), kind="stable")
    ranks = np.argsort(order)
    return Drawn(
        k,
        {name: ranks[array].astype(np.int32) for name, array in arrays.items()},
        {"rows.weight": (20, 30), "flat.weight": None, "one": None},
    )


def coded(indices: Indices, coding: IndexCoding) -> tuple[Encoded, dict[str, bytes]]:
    encoded = coding.encode(indices)
    return encoded, {part.name: b"".join(encoded.stream(part).data()) for part in indices.parts}


def tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


@pytest.fixture(params=list(CODINGS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def motifs_of(coding: IndexCoding) -> list[int]:
    least, most = coding.motifs
    return [k for k in (1, 2, 3, 5, 16, 17, 256, 257) if least <= k <= most]


def test_what_is_coded_decodes_alone_and_in_any_order(name: str) -> None:
    for k in motifs_of(get_coding(name)):
        indices = drawn(k, seed=k)
        encoded, streams = coded(indices, get_coding(name))
        coding = get_coding(encoded.coding)
        decode = coding.decoder(k, indices.parts, encoded.tables.__getitem__)
        assert set(encoded.tables) == set(coding.tables)
        coding.check_tables(k, indices.parts, {table: len(data) for table, data in encoded.tables.items()})
        for part in reversed(indices.parts):
            data = streams[part.name]
            assert coding.stream_bytes(k, part, len(data)) == len(data)
            assert encoded.stream(part).size in (None, len(data))
            found = decode(part, tensor(data))
            assert found.dtype == torch.int32
            assert found.tolist() == indices.arrays[part.name].tolist(), (k, part)


def test_the_same_indices_give_the_same_bytes(name: str) -> None:
    k = motifs_of(get_coding(name))[-1]
    one, two = (coded(drawn(k, seed=1), get_coding(name)) for _ in range(2))
    assert one[1] == two[1]
    assert dict(one[0].tables) == dict(two[0].tables)


def test_no_coding_takes_much_more_than_whole_bits_and_none_less_than_the_entropy(name: str) -> None:
    coding = get_coding(name)
    k = motifs_of(coding)[-1]
    for even in (True, False):
        indices = drawn(k, seed=2, even=even)
        encoded, streams = coded(indices, coding)
        taken = 8 * (sum(map(len, streams.values())) + sum(map(len, encoded.tables.values())))
        share = indices.usage / indices.usage.sum()
        entropy = -float(share[share > 0] @ np.log2(share[share > 0])) * indices.usage.sum()
        packed = math.ceil(math.log2(k)) * indices.usage.sum()
        assert entropy <= taken, "below the entropy: something is not stored"
        assert taken <= 1.1 * packed + 8 * 2 * k + 200


def test_damage_is_told_or_gives_indices_of_motifs(name: str) -> None:
    coding = get_coding(name)
    k = motifs_of(coding)[min(2, len(motifs_of(coding)) - 1)]
    indices = drawn(k, seed=3)
    encoded, streams = coded(indices, coding)
    coding = get_coding(encoded.coding)
    part = indices.parts[1]
    decode, data, told = coding.decoder(k, indices.parts, lambda table: encoded.tables[table]), streams[part.name], 0
    for byte in range(len(data)):
        for bit in range(8):
            wrong = bytearray(data)
            wrong[byte] ^= 1 << bit
            try:
                found = decode(part, tensor(bytes(wrong)))
            except FormatError:
                told += 1
            else:
                assert found.shape == (part.blocks,)
                assert 0 <= int(found.min()) <= int(found.max()) < k
    with pytest.raises(FormatError):
        decode(part, tensor(data + bytes(8)))
    assert told or k & (k - 1) == 0


def test_a_short_file_cannot_claim_many_indices(name: str) -> None:
    coding = get_coding(name)
    part = Part("w", 10**12)
    if "ans" in coding.features:
        with pytest.raises(FormatError, match="100 bytes, which 1,000,000,000,000 blocks cannot have"):
            coding.stream_bytes(2, part, 100)
    else:
        assert coding.stream_bytes(2, part, 100) >= 10**12 // 8


def test_the_features_tell_which_coding_it_is(name: str) -> None:
    coding = get_coding(name)
    assert coding_with({*coding.features, "layout", "bundle"}) == name
    assert all(table.startswith("momos.") for table in coding.tables)
    least, most = coding.motifs
    assert 1 <= least < most <= 2**24


def test_files_are_written_and_read(name: str, tmp_path: Path) -> None:
    state = {"a": draw((24, 16)), "b": draw((12, 8), 1), "v": draw((40, 4), 2)}
    path = tmp_path / "x.momos.safetensors"
    k = min(12, get_coding(name).motifs[1])
    motifs = np.random.default_rng(0).standard_normal((k, 4), dtype=np.float32)
    layouts = {"a": Layout(24), "b": Layout(8, transposed=True)}
    plain = write(tmp_path / "y.momos.safetensors", state, layouts=layouts, motifs=motifs, coding="packed")
    file = write(path, state, layouts=layouts, motifs=motifs, coding=name)
    assert set(get_coding(file.recipe.coding).features) <= set(file.recipe.features)
    for key in state:
        assert torch.equal(file.indices(key), plain.indices(key))
        assert torch.equal(load_file(path)[key], plain.get(key))


@pytest.fixture
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CODINGS", dict(CODINGS))


@pytest.mark.usefixtures("own_table")
def test_a_registered_coding_is_written_and_read(tmp_path: Path) -> None:
    register_coding("mine", Whole())
    state = {"a": draw((24, 16))}
    motifs = np.random.default_rng(0).standard_normal((7, 4), dtype=np.float32)
    file = write(tmp_path / "x.momos.safetensors", state, motifs=motifs, coding="mine")
    assert "bytes" in file.recipe.features
    assert file.recipe.coding == "mine"
    plain = write(tmp_path / "y.momos.safetensors", state, motifs=motifs, coding="packed")
    assert torch.equal(file.get("a"), plain.get("a"))


@pytest.mark.usefixtures("own_table")
def test_a_file_of_an_unknown_coding_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_coding("mine", Whole())
    motifs = np.random.default_rng(0).standard_normal((7, 4), dtype=np.float32)
    path = write(tmp_path / "x.momos.safetensors", {"a": draw((24, 16))}, motifs=motifs, coding="mine").path
    monkeypatch.setattr(registry, "CODINGS", {key: value for key, value in CODINGS.items() if key != "mine"})
    with pytest.raises(FormatError, match=r"needs features that this version does not know: .*bytes"):
        load_file(path)


@pytest.mark.usefixtures("own_table")
def test_clashes_and_unknown_names() -> None:
    with pytest.raises(ValueError, match="coding 'packed' is registered already"):
        register_coding("packed", PACKED)
    with pytest.raises(ValueError, match="has the features of 'packed'"):
        register_coding("other", replace(PACKED))
    with pytest.raises(MomosError, match="unknown coding 'huffman'; choose from packed, ans, classes, radix, spread"):
        get_coding("huffman")


class Whole:
    """A byte an index."""

    features: tuple[str, ...] = ("bytes",)
    tables: tuple[str, ...] = ()
    motifs = (1, 256)

    def encode(self, indices):  # type: ignore[no-untyped-def]
        from momos_compress.coding.protocol import Stream

        def stream(part: Part) -> Stream:
            return Stream(lambda: (piece.astype(np.uint8).tobytes() for piece in indices.read(part.name)), part.blocks)

        return Encoded("mine", {}, stream)

    def check_tables(self, k, parts, sizes) -> None:  # type: ignore[no-untyped-def]
        pass

    def stream_bytes(self, k: int, part: Part, stored: int) -> int:
        return part.blocks

    def decoder(self, k, parts, table):  # type: ignore[no-untyped-def]
        def decode(part: Part, data: torch.Tensor) -> torch.Tensor:
            if int(data.max()) >= k:
                raise FormatError(f"index {int(data.max())} where there are {k} motifs")
            return data.int()

        return decode
