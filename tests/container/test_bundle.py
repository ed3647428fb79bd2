"""Small files: tensors in one bundle, the recipe deflated."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from conftest import memory_checkpoint, shared
from hypothesis import given, settings
from hypothesis import strategies as st
from second_reader import contents as second_contents
from second_reader import stored_tensors as second_stored

from momos_compress import FormatError, MomosError, MomosFile, Settings, compress, load_file, open_checkpoint
from momos_compress.compression import fit
from momos_compress.container import affine8
from momos_compress.container import assembly as assembly_module
from momos_compress.container.bundle import BUNDLE_BELOW, arrange, bundle_from_json, bundle_to_json, deflate, inflate
from momos_compress.container.inspection import tensor_rows
from momos_compress.mosaic import mosaic as mosaic_module
from momos_compress.networks.export import export
from momos_compress.networks.topology import layer_names


@pytest.fixture(autouse=True, scope="module")
def no_other_extensions() -> Iterator[None]:
    """Flat blocks, float16 motifs, norms as they are: the bundle and the coding alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "find_rows", lambda *arguments: {})
        patch.setattr(fit, "smallest_dtype", lambda *arguments: "float16")
        patch.setattr(affine8, "encode", lambda tensor: None)
        yield


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def state() -> dict[str, torch.Tensor]:
    """A network with a large weight, whose stream stays beside the bundle, and a large table that passes through."""
    tied = draw(20, 30)
    return {
        "large.weight": draw(700, 400, seed=1),
        "small.weight": tied,
        "head.weight": tied,
        "small.bias": draw(20, seed=2),
        "table": torch.arange(2**14, dtype=torch.int32),
        "steps": torch.tensor(3),
        "mask": torch.tensor([True, False, True]),
        "nothing": torch.zeros(0, 3),
        "half": draw(9, seed=3).bfloat16(),
    }


def both(directory: Path, **choices: object) -> tuple[MomosFile, MomosFile]:
    """The same network packed and coded."""
    files = []
    for coding in ("packed", "ans"):
        path = directory / f"{coding}.momos.safetensors"
        compress(memory_checkpoint(state()), Settings(k=300, s=3, coding=coding, bdm=False, **choices), path)  # type: ignore[arg-type]
        files.append(MomosFile(path))
    return files[0], files[1]


def test_a_coded_file_decodes_to_the_same_tensors_under_the_same_names(tmp_path: Path) -> None:
    packed, coded = both(tmp_path)
    assert list(packed) == list(coded)
    for name in packed:
        assert torch.equal(packed.get(name), coded.get(name)), name
        assert packed.get(name).dtype == coded.get(name).dtype
        if name in packed.recipe.tensors:
            assert torch.equal(packed.indices(name), coded.indices(name))
    assert load_file(coded.path)["head.weight"].shape == (20, 30)
    assert coded.path.stat().st_size < packed.path.stat().st_size
    with pytest.raises(KeyError):
        coded.get("momos.bundle")
    with pytest.raises(KeyError):
        coded.get("momos.counts")


def test_bundled_tensors_look_like_stored_ones(tmp_path: Path) -> None:
    packed, coded = both(tmp_path)
    assert set(coded.entries) == {*packed.entries, "momos.counts"}
    for name, entry in packed.entries.items():
        if name not in packed.recipe.tensors:
            assert (entry.dtype, entry.shape, entry.nbytes) == (
                coded.entries[name].dtype,
                coded.entries[name].shape,
                coded.entries[name].nbytes,
            )
    rows = {row["name"]: row for row in tensor_rows(coded)}
    assert rows["small.bias"]["stored"] == "F16"
    assert rows["small.weight"]["bytes"] == coded.entries["small.weight"].nbytes
    assert set(rows) == {row["name"] for row in tensor_rows(packed)} | {"momos.counts"}
    assert layer_names(coded) == layer_names(packed)
    for file, name in ((packed, "a"), (coded, "b")):
        export(file.path, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_large_tensors_lie_beside_the_bundle_and_small_ones_in_it(tmp_path: Path) -> None:
    _, coded = both(tmp_path)
    stored, metadata = second_stored(coded.path)
    assert set(stored) == {"momos.bundle", "momos.recipe", "large.weight", "table"}
    assert json.loads(metadata["recipe"]) == {"features": ["ans", "bundle"]}
    tensors, recipe = second_contents(coded.path)
    assert tensors["small.bias"].tolist() == state()["small.bias"].half().tolist()
    assert "blocks" not in recipe["tensors"]["small.weight"]
    assert stored["table"].nbytes == BUNDLE_BELOW


def test_streams_of_many_pieces_that_wait_on_the_disk_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, coded = both(tmp_path)
    before = coded.path.read_bytes()
    monkeypatch.setattr(mosaic_module, "CHUNK_VALUES", 1000)
    monkeypatch.setattr(assembly_module, "CHUNK_VALUES", 1000)
    monkeypatch.setattr(assembly_module, "SPOOLED_FROM", 5000)
    _, coded = both(tmp_path)
    assert coded.path.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"packed.momos.safetensors", "ans.momos.safetensors"}


def test_the_guard_byte_is_kept(tmp_path: Path) -> None:
    # Of one dimension, and by chance as many bytes as values: then, and only then, one byte more.
    sizes = set()
    for count in range(24, 60, 4):
        values = draw(count, seed=count)
        path = tmp_path / "x"
        compress(
            memory_checkpoint({"v": values, "w": draw(64, 64)}),
            Settings(k=200, s=1, include=("*",), coding="ans"),
            path,
        )
        file = MomosFile(path)
        size = file.entries["v"].nbytes
        assert (size,) != (count,)
        sizes.add(size % 4)
        assert file.get("v").shape == (count,)
    assert sizes == {0, 1}


def test_one_motif_and_names_of_the_formats_own(tmp_path: Path) -> None:
    path = tmp_path / "x"
    compress(memory_checkpoint({"w": torch.ones(64, 64)}), Settings(k=1, coding="ans"), path)
    assert MomosFile(path).recipe.features == ()
    for name in ("momos.bundle", "momos.recipe", "momos.counts"):
        tensors = {name: torch.arange(3), "w": draw(64, 64)}
        compress(memory_checkpoint(tensors), Settings(k=9, coding="packed"), path)
        assert torch.equal(load_file(path)[name], tensors[name])
        with pytest.raises(MomosError, match=f"{name}' cannot be stored.*rename it"):
            compress(memory_checkpoint(tensors), Settings(k=9, coding="ans"), path)


def test_damage_in_the_bundle_leaves_the_large_tensors_readable(tmp_path: Path) -> None:
    _, coded = both(tmp_path)
    raw = bytearray(coded.path.read_bytes())
    entry = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["momos.bundle"]
    raw[8 + int.from_bytes(raw[:8], "little") + entry["data_offsets"][1] - 1] ^= 1
    coded.path.write_bytes(raw)
    file = MomosFile(coded.path)
    assert torch.equal(file.get("table"), state()["table"])
    with pytest.raises(FormatError, match=r"steps: the data do not match their checksum"):
        file.get("steps")


def test_what_is_no_payload_takes_little_for_a_small_network(tmp_path: Path) -> None:
    source = shared("resnet20_cifar10.safetensors")
    path = tmp_path / "x"
    checkpoint = open_checkpoint(str(source), arch="cifar_resnet20")
    report = compress(checkpoint, Settings(c=0.01, calibrate="none", bdm=False), path)
    file = MomosFile(path)
    payload = sum(entry.nbytes for entry in file.entries.values())
    assert report.file_bytes - payload <= 1500
    assert file.entries["momos.counts"].nbytes < 100
    assert report.index_entropy < report.index_bits_per_block < 1.003 * report.index_entropy


# The table and the deflated recipe

NAMES = st.lists(
    st.lists(st.sampled_from(["a", "b", "bn1", "", "weight"]), min_size=1, max_size=5).map(".".join), unique=True
)


@given(NAMES, st.lists(st.sampled_from(["F16", "U8", "F32", "BOOL"]), min_size=1, max_size=4))
@settings(deadline=None)
def test_any_names_survive_the_table(names: list[str], dtypes: list[str]) -> None:
    sizes = {name: (dtypes[i % len(dtypes)], (i, 2)) for i, name in enumerate(names)}
    bundle = arrange(sizes)
    assert {name: (entry.dtype, entry.shape) for name, entry in bundle.items()} == sizes
    offset = 0
    for entry in bundle.values():
        assert entry.offset == offset
        offset += entry.nbytes
    found = bundle_from_json(json.loads(json.dumps(bundle_to_json(bundle))))
    assert list(found.items()) == list(bundle.items())


def test_names_of_modules_share_their_beginnings() -> None:
    bundle = arrange({"a.0.w": ("F16", (3,)), "b": ("U8", (1,)), "c": ("F16", ()), "a.0.b": ("F16", (2,))})
    table = {"F16": {"a": {"0": {"w": (3,), "b": (2,)}}, "c": ()}, "U8": {"b": (1,)}}
    assert bundle_to_json(bundle) == table
    assert [entry.offset for entry in bundle.values()] == [0, 6, 10, 12]
    # A name that is the beginning of another cannot be cut: the names of that dtype stand as they are.
    assert bundle_to_json(arrange({"a": ("U8", (1,)), "a.b": ("U8", (1,))})) == {"U8": {"a": (1,), "a.b": (1,)}}


def test_the_recipe_is_inflated_with_a_bound() -> None:
    assert inflate(deflate('{"a":"ä"}'), 100) == '{"a":"ä"}'
    with pytest.raises(FormatError, match="more than 9 bytes"):
        inflate(deflate('{"a":"ä"}'), 9)
    bomb = zlib.compress(bytes(10**8), 9)
    with pytest.raises(FormatError, match="more than any checkpoint needs"):
        inflate(bomb, 2**26)
    assert len(inflate(zlib.compress(b" " * 2**16), 2**26)) == 2**16


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not end"),
        (b"{}", "cannot be inflated"),
        (zlib.compress(b"{}")[:-1], "does not end"),
        (zlib.compress(b"{}") + b"\0", "does not end"),
        (zlib.compress(b"{}")[:-1] + b"\0", "cannot be inflated"),
        (zlib.compress(b"\xff\xfe"), "cannot be inflated"),
        (gzip.compress(b"{}", mtime=0), "cannot be inflated"),
    ],
)
def test_a_deflated_recipe_that_is_damaged(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        inflate(data, 100)
