from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint

from momos_compress import MomosError, Settings, compress, load_file, open_checkpoint
from momos_compress.coding.packed import index_bits, unpack
from momos_compress.coding.registry import get_coding
from momos_compress.container.assembly import MosaicIndices
from momos_compress.container.recipe import part_of
from momos_compress.fitting.projection import project
from momos_compress.mosaic.blocks import count_blocks, iter_blocks
from momos_compress.planning.select import select


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": torch.randn(7, 5, generator=generator),
        "b": torch.randn(3, 2, 3, 3, generator=generator) * 0.1,
        "c": torch.randn(40, 25, generator=generator),
    }


def test_distortion_and_indices_match_brute_force_without_counting_padding() -> None:
    checkpoint = memory_checkpoint(state())
    chosen = select(checkpoint, s=4).chosen
    motifs = np.random.default_rng(0).standard_normal((20, 4), dtype=np.float32)
    mosaic = project(
        checkpoint,
        chosen,
        motifs,
        codebook_dtype="float32",
        keep_unused=True,
        ties="lowest",
        energy=1,
        sampled_blocks=0,
    )
    book = mosaic.codebook.numpy()
    assert sorted(map(bytes, book)) == sorted(map(bytes, motifs))
    assert list(mosaic.usage) == sorted(mosaic.usage, reverse=True)
    assert mosaic.usage.sum() == 273
    for tensor in mosaic.tensors:
        values = state()[tensor.name]
        blocks = np.concatenate(list(iter_blocks(values, 4)))
        stored = torch.frombuffer(
            bytearray(b"".join(get_coding("packed").encode(MosaicIndices(mosaic)).stream(part_of(tensor)).data())),
            dtype=torch.uint8,
        )
        indices = unpack(stored, tensor.blocks, index_bits(20)).numpy()
        assert np.array_equal(np.concatenate(list(mosaic.indices(tensor))), indices)
        distances = np.square(blocks[:, None].astype(np.float64) - book[None]).sum(axis=2)
        assert np.array_equal(indices, distances.argmin(axis=1))
        decoded = book[indices].reshape(-1)[: values.numel()]
        error = np.square(decoded.astype(np.float64) - values.reshape(-1).numpy()).sum()
        assert tensor.distortion == pytest.approx(error, rel=1e-6)


def test_the_papers_protocol_matches_its_definition(tmp_path: Path) -> None:
    checkpoint = open_checkpoint("digits")
    path = tmp_path / "out.momos.safetensors"
    report = compress(checkpoint, Settings(c=0.02, protocol="paper", seed=3), path)
    # All trainable parameters, in parameters() order, each padded to whole blocks of four.
    model = checkpoint.architecture.build(seed=0)  # type: ignore[union-attr]
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert "bn1.weight" in names
    assert "linear.bias" in names
    blocks = np.concatenate([np.concatenate(list(iter_blocks(checkpoint.read(name), 4))) for name in names])
    assert report.blocks == len(blocks) == sum(count_blocks(checkpoint.read(name).numel(), 4) for name in names)
    assert report.k == int(0.02 * len(blocks))
    from momos_compress import MomosFile

    file = MomosFile(path)
    assert list(file.recipe.tensors) == names
    book = file.codebook.numpy()
    assert len(book) == report.k
    assert (~book.any(axis=1)).sum() >= 1  # the zero motif is there
    drawn = {row.tobytes() for row in book if row.any()}
    assert drawn <= {row.tobytes() for row in blocks}  # every other motif is a block, in full precision
    distances = np.square(blocks[:, None].astype(np.float64) - book[None]).sum(axis=2)
    indices = np.concatenate([file.indices(name).numpy() for name in names])
    assert np.array_equal(distances[np.arange(len(blocks)), indices], distances.min(axis=1))
    used = np.bincount(indices, minlength=len(book))
    assert list(used) == sorted(used, reverse=True)
    decoded = load_file(path)
    error = sum(float((decoded[n].double() - checkpoint.read(n).double()).square().sum()) for n in names)
    energy = sum(float(checkpoint.read(n).double().square().sum()) for n in names)
    assert report.relative_distortion == pytest.approx(error / energy, rel=1e-6)


def test_the_papers_k_of_one_is_the_zero_motif(tmp_path: Path) -> None:
    path = tmp_path / "one.momos.safetensors"
    report = compress(open_checkpoint("digits"), Settings(k=1, protocol="paper"), path)
    assert report.k == 1
    assert report.relative_distortion == 1
    assert not any(t.any() for name, t in load_file(path).items() if name.endswith("weight"))


def test_unused_motifs_are_dropped_and_told(tmp_path: Path) -> None:
    tensors = {"w": torch.tensor([[1.0, -1.0, -1.0, 1.0]]).repeat(100, 1)}  # rows of scale 1
    report = compress(
        memory_checkpoint(tensors), Settings(k=50, codebook_dtype="float16"), tmp_path / "x.momos.safetensors"
    )
    assert (report.k, report.k_requested) == (1, 50)
    assert report.relative_distortion == 0


@pytest.mark.parametrize("k", [1, 2, 3, 256, 257])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("s", [1, 4, 64])
def test_every_edge_of_k_s_and_dtype_round_trips(k: int, dtype: torch.dtype, s: int, tmp_path: Path) -> None:
    tensors = {"w": torch.randn(130, 129, generator=torch.Generator().manual_seed(0)).to(dtype)}
    path = tmp_path / "x.momos.safetensors"
    report = compress(memory_checkpoint(tensors), Settings(k=k, s=s), path)
    decoded = load_file(path)["w"]
    assert decoded.dtype == dtype
    assert decoded.shape == (130, 129)
    error = (decoded.double() - tensors["w"].double()).square().sum() / tensors["w"].double().square().sum()
    assert report.relative_distortion == pytest.approx(float(error), rel=1e-5)
    assert report.k <= k


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.momos.safetensors"
        compress(open_checkpoint("digits"), Settings(c=0.03, seed=5, calibrate="none"), path)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_a_motif_beyond_float16_is_refused_with_the_remedy(tmp_path: Path) -> None:
    tensors = {"w": torch.full((10, 4), 2.0**30)}  # beyond what the scale of a row, below 2^8, can take off it
    path = tmp_path / "x.momos.safetensors"
    with pytest.raises(MomosError, match=r"beyond float16; use `codebook_dtype='float32'`"):
        compress(memory_checkpoint(tensors), Settings(k=2, codebook_dtype="float16"), path)
    assert list(tmp_path.iterdir()) == []
    compress(memory_checkpoint(tensors), Settings(k=2, codebook_dtype="float32"), path)
    torch.testing.assert_close(load_file(path)["w"], tensors["w"], rtol=2e-7, atol=0)
    small = {"w": torch.full((10, 4), 1e5)}
    compress(memory_checkpoint(small), Settings(k=2, codebook_dtype="float16"), path)
    torch.testing.assert_close(load_file(path)["w"], small["w"], rtol=1e-3, atol=0)


def test_a_nan_is_told_by_tensor_and_index(tmp_path: Path) -> None:
    tensors = state()
    tensors["c"][3, 1] = float("nan")
    with pytest.raises(MomosError, match=r"^c \[40, 25\]: nan at index \[3, 1\]"):
        compress(memory_checkpoint(tensors), Settings(), tmp_path / "x.momos.safetensors")
