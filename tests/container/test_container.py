import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import compress_version1, memory_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file as load_safetensors

from momos_compress import MomosError, MomosFile, Settings, compress, load_file, open_file
from momos_compress.coding.packed import pack
from momos_compress.compression import fit
from momos_compress.container.recipe import CODEBOOK, Recipe
from momos_compress.container.writer import write_container
from momos_compress.mosaic.records import CompressedTensor
from momos_compress.tensors.safetensors_writer import StoredTensor, tensor_data

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "version1.momos.safetensors"


def write_golden(path: Path) -> dict[str, torch.Tensor]:
    """A small file that has every feature of version 1; returns what it decodes to."""
    codebook = torch.tensor([[0.0, 0.0], [0.5, -1.0], [2.0, 0.25]], dtype=torch.float16)
    indices = {"conv.weight": np.array([0, 1, 2, 2, 1]), "bias": np.array([2, 0, 0, 0, 0, 0, 0, 0, 1])}
    tensors = {
        "conv.weight": CompressedTensor("conv.weight", (3, 3), torch.float32, 0, 5, 0.125),
        # 16 values in 8 blocks of 2 bits are 2 bytes; 3 values would be 1 byte, so no guard byte is needed here.
        "bias": CompressedTensor("bias", (18,), torch.bfloat16, 5, 14, 0.0),
    }
    norm = torch.tensor([1.5, -0.25])
    counter = torch.tensor(7)
    recipe = Recipe(
        s=2,
        k=3,
        blocks=14,
        distortion=0.125,
        energy=16.0,
        tensors=tensors,
        cast={"norm.weight": torch.float32},
        aliases={"head.weight": "conv.weight"},
        extra={"method": "random", "seed": 0},
    )
    stored = [
        StoredTensor(CODEBOOK, torch.float16, (3, 2), lambda: [tensor_data(codebook)]),
        StoredTensor("norm.weight", torch.float16, (2,), lambda: [tensor_data(norm.half())]),
        StoredTensor("norm.steps", torch.int64, (), lambda: [tensor_data(counter)]),
    ]
    for name, values in indices.items():
        data = pack(values, 2)
        stored.append(StoredTensor(name, torch.uint8, (len(data),), lambda data=data: [data]))
    write_container(path, stored, recipe)
    conv = codebook.float()[torch.tensor(indices["conv.weight"])].reshape(-1)[:9].reshape(3, 3)
    bias = codebook.float()[torch.tensor(indices["bias"])].reshape(-1).bfloat16()
    return {"conv.weight": conv, "bias": bias, "norm.weight": norm, "norm.steps": counter, "head.weight": conv}


def test_golden_bytes_pin_the_format(tmp_path: Path) -> None:
    path = tmp_path / "new.momos.safetensors"
    expected = write_golden(path)
    assert path.read_bytes() == GOLDEN.read_bytes()
    decoded = load_file(GOLDEN)
    assert set(decoded) == set(expected)
    for name, tensor in expected.items():
        assert decoded[name].dtype == tensor.dtype
        assert torch.equal(decoded[name], tensor), name
    assert decoded["head.weight"] is decoded["conv.weight"]


def test_any_safetensors_reader_opens_the_file() -> None:
    raw = load_safetensors(GOLDEN)
    assert raw["conv.weight"].dtype == torch.uint8
    assert raw["conv.weight"].tolist() == [0b10_10_01_00, 0b01]  # 0, 1, 2, 2 | 1, least significant bits first
    assert raw["norm.steps"].item() == 7
    with safe_open(GOLDEN, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "momos"
    assert json.loads(metadata["recipe"])["tensors"]["bias"]["blocks"] == [5, 14]


def test_software_without_the_format_fails_on_the_shape() -> None:
    layer = torch.nn.Module()
    layer.conv = torch.nn.Linear(3, 3, bias=False)
    with pytest.raises(RuntimeError, match=r"size mismatch for conv\.weight"):
        layer.load_state_dict(load_safetensors(GOLDEN), strict=False)


def test_one_tensor_is_decoded_alone_and_names_are_listed() -> None:
    file = open_file(GOLDEN)
    assert list(file) == ["conv.weight", "bias", "norm.steps", "norm.weight", "head.weight"]
    assert "head.weight" in file
    assert CODEBOOK not in file
    assert file.get("norm.weight").dtype == torch.float32
    with pytest.raises(KeyError):
        file.get("nothing")
    with pytest.raises(KeyError):
        file.get(CODEBOOK)


def test_the_guard_byte_keeps_the_stored_shape_apart(tmp_path: Path) -> None:
    # With s = 1 and 256 motifs a one-dimensional parameter has as many bytes as values.
    values = torch.arange(256, dtype=torch.float32).repeat(2) / 256
    path = tmp_path / "x.momos.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "find_rows", lambda *arguments: {})
        settings = Settings(k=256, s=1, include=("v",), codebook_dtype="float32", coding="packed")
        compress(memory_checkpoint({"v": values}), settings, path)
    assert load_safetensors(path)["v"].shape == (513,)
    assert torch.equal(load_file(path)["v"], values)


@given(
    st.dictionaries(
        st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=8).filter(
            lambda name: name not in (CODEBOOK, "__metadata__")
        ),
        st.tuples(st.lists(st.integers(1, 6), min_size=0, max_size=3), st.sampled_from(["f4", "f2", "bf", "i8", "b1"])),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(0, 2**20),
)
@settings(deadline=None, max_examples=60)
def test_any_checkpoint_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    spec: dict[str, tuple[list[int], str]],
    s: int,
    k: int,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    dtypes = {"f4": torch.float32, "f2": torch.float16, "bf": torch.bfloat16, "i8": torch.int8, "b1": torch.bool}
    state = {name: torch.randn(shape, generator=generator).to(dtypes[kind]) for name, (shape, kind) in spec.items()}
    state |= {"always": torch.randn(9, 7, generator=generator)}
    path = tmp_path_factory.mktemp("container") / "x.momos.safetensors"
    report = compress_version1(memory_checkpoint(state), path, k=k, s=s, passthrough="keep")
    file = MomosFile(path)
    decoded = load_file(path)
    assert set(decoded) == set(state)
    error = 0.0
    for name, tensor in state.items():
        assert decoded[name].shape == tensor.shape
        assert decoded[name].dtype == tensor.dtype
        if name in file.recipe.tensors:
            error += float((decoded[name].double() - tensor.double()).square().sum())
            rows = decoded[name].float().reshape(-1)
            whole = rows[: rows.numel() // s * s].reshape(-1, s)
            book = file.codebook.to(tensor.dtype).float()
            assert all((book == row).all(dim=1).any() for row in whole)
        else:
            assert torch.equal(decoded[name], tensor)
    assert file.recipe.distortion == pytest.approx(error, rel=1e-4, abs=1e-6)
    assert report.file_bytes == path.stat().st_size


def test_a_reserved_name_is_refused(tmp_path: Path) -> None:
    for name in (CODEBOOK, "__metadata__"):
        state = {name: torch.zeros(3), "w": torch.randn(8, 8)}
        with pytest.raises(MomosError, match=r"cannot be stored.*rename it"):
            compress(memory_checkpoint(state), Settings(k=3, coding="packed"), tmp_path / "x.momos.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_tied_tensors_are_stored_once(tmp_path: Path) -> None:
    weight = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "x.momos.safetensors"
    report = compress(memory_checkpoint({"embed": weight, "head": weight, "view": weight[:16]}), Settings(k=9), path)
    assert report.parameters == 32 * 16 + 16 * 16  # the view is another tensor, its twin is not
    assert "head" not in load_safetensors(path)
    decoded = load_file(path)
    assert decoded["head"] is decoded["embed"]
