"""Our writer and reader of safetensors against the library's own."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from momos_compress import FormatError, MomosError
from momos_compress.tensors.dtypes import DTYPES, SAFETENSORS_NAMES
from momos_compress.tensors.safetensors_reader import SafetensorsFile
from momos_compress.tensors.safetensors_writer import StoredTensor, tensor_data, write_safetensors


def state() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    values = torch.randint(0, 100, (3, 5), generator=draw)
    tensors = {name: (values > 50 if name == "BOOL" else values.to(dtype)) for name, dtype in DTYPES.items()}
    return {**tensors, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "größe": torch.arange(7)}


def stored(tensors: dict[str, torch.Tensor]) -> list[StoredTensor]:
    return [
        StoredTensor(name, tensor.dtype, tuple(tensor.shape), lambda tensor=tensor: [tensor_data(tensor)])
        for name, tensor in tensors.items()
    ]


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and tensor_data(one) == tensor_data(other)


def test_the_library_reads_what_is_written_here(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", state()
    size = write_safetensors(path, stored(tensors), {"origin": "here"})
    assert size == path.stat().st_size
    found = load_file(path)
    assert found.keys() == tensors.keys()
    assert all(same(found[name], tensor) for name, tensor in tensors.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"origin": "here"}


def test_what_the_library_writes_is_read_here(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", state()
    save_file(tensors, path, {"origin": "there"})
    file = SafetensorsFile.open(path)
    assert file.metadata == {"origin": "there"}
    assert file.entries.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert file.entries[name].torch_dtype == tensor.dtype
        assert same(file.read(name), tensor)


def test_dtypes_have_one_name_each() -> None:
    assert len(SAFETENSORS_NAMES) == len(DTYPES)
    assert all(DTYPES[name] == dtype for dtype, name in SAFETENSORS_NAMES.items())


def test_a_tensor_that_gives_other_bytes_than_it_says_leaves_no_file(tmp_path: Path) -> None:
    wrong = StoredTensor("w", torch.float32, (2,), lambda: [b"\0" * 7])
    with pytest.raises(MomosError, match="w: 7 bytes where its entry says 8"):
        write_safetensors(tmp_path / "x.safetensors", [wrong], {})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_becomes_shorter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.ones(100)}, path)
    file = SafetensorsFile.open(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="the file has become shorter"):
        file.read("w")
