"""The extensions together: what is written is read by this reader and by one written from the document alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from second_reader import contents
from second_reader import decode as second_decode
from second_reader import stored_tensors as second_stored

from momos_compress import FormatError, MomosError, MomosFile, Settings, load_file
from momos_compress.coding.ans import COUNTS
from momos_compress.coding.class_stream import encode_by_class
from momos_compress.coding.counts import read_counts, store_counts
from momos_compress.coding.index_model import IndexModel
from momos_compress.coding.index_spread import Spread
from momos_compress.coding.registry import get_coding
from momos_compress.coding.spread import SPREAD
from momos_compress.coding.spread_counts import counts_of
from momos_compress.compression.describe import describe_run
from momos_compress.container.assembly import MosaicIndices, recipe_of, stored_tensors
from momos_compress.container.recipe import CODEBOOK, SCALES, Recipe, part_of
from momos_compress.container.recipe_parser import features_of
from momos_compress.container.writer import write_container
from momos_compress.fitting.projection import project
from momos_compress.fitting.row_scales import RowScales
from momos_compress.mosaic import blocks as blocks_module
from momos_compress.mosaic.blocks import FLAT, Layout
from momos_compress.mosaic.mosaic import MosaicBuilder
from momos_compress.mosaic.scales import encode_scales, scale_values
from momos_compress.planning.plan import plan
from momos_compress.tensors.records import TensorInfo
from momos_compress.tensors.safetensors_writer import StoredTensor, tensor_data


def rms(tensor: torch.Tensor, layout: Layout) -> torch.Tensor:
    return encode_scales(layout.matrix(tensor).float().square().mean(dim=1).sqrt())


def write(
    path: Path,
    state: dict[str, torch.Tensor],
    *,
    layouts: dict[str, Layout] | None = None,
    scaled: tuple[str, ...] = (),
    motifs: np.ndarray,
    **choices: object,
) -> MomosFile:
    """Project a state dict onto given motifs and write it."""
    checkpoint = memory_checkpoint(state)
    layouts = layouts or {}
    work = plan(checkpoint, Settings(k=len(motifs), s=motifs.shape[1], passthrough="keep", **choices))  # type: ignore[arg-type]
    mosaic = project(
        checkpoint,
        work.selection.chosen,
        motifs,
        codebook_dtype=work.settings.codebook_dtype or "float16",
        rows={
            name: RowScales(layout, rms(state[name], layout) if name in scaled else None)
            for name, layout in layouts.items()
            if layout != FLAT
        },
        ties="lowest",
        energy=1.0,
        sampled_blocks=0,
    )
    coding = work.settings.coding or "packed"
    stored, kept = stored_tensors(checkpoint.tensors, mosaic, coding, passthrough=work.settings.passthrough)
    write_container(
        path, stored, recipe_of(mosaic, kept, aliases=checkpoint.tensors.aliases, extra=describe_run(checkpoint, work))
    )
    return MomosFile(path)


def draw(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LAYOUTS = (
    (FLAT, False),
    (Layout(3), False),
    (Layout(3), True),
    (Layout(20, transposed=True), False),
    (Layout(20, transposed=True), True),
    (Layout(1), True),
    (Layout(60), True),
)


@given(
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.sampled_from(["float16", "float32", "bfloat16", "int8"]),
    st.sampled_from([1, 2, 3, 256, 257]),
    st.sampled_from([1, 2, 4, 7, 64]),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from(["packed", "ans"]),
    st.integers(0, 2**20),
)
@hypothesis_settings(deadline=None, max_examples=80)
def test_both_readers_agree_on_every_combination(
    tmp_path_factory: pytest.TempPathFactory,
    first: tuple[Layout, bool],
    second: tuple[Layout, bool],
    codebook: str,
    k: int,
    s: int,
    dtype: torch.dtype,
    coding: str,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("x") / "x.momos.safetensors"
    state = {"a": draw((6, 4, 5), seed).to(dtype), "b": draw((6, 20), seed + 1), "c": draw((5, 64), seed + 2)}
    chosen = {"a": first, "b": second}
    file = write(
        path,
        state,
        layouts={name: layout for name, (layout, _) in chosen.items()},
        scaled=tuple(name for name, (_, scaled) in chosen.items() if scaled),
        motifs=np.random.default_rng(seed).standard_normal((k, s), dtype=np.float32),
        codebook_dtype=codebook,
        coding=coding,
        include=("*",),
    )
    decoded, expected = load_file(path), second_decode(path)
    error = 0.0
    for name, tensor in state.items():
        found = torch.from_numpy(expected[name].copy()).to(tensor.dtype)
        assert torch.equal(decoded[name], found), name
        assert decoded[name].is_contiguous()
        error += float((decoded[name].double() - tensor.double()).square().sum())
    assert file.recipe.distortion == pytest.approx(error, rel=1e-6)
    features = json.loads(second_stored(path)[1]["recipe"]).get("features", [])
    assert features == list(file.recipe.features)
    assert ("layout" in features) == (first[0] != FLAT or second[0] != FLAT)
    assert ("scales" in features) == (first[1] or second[1])
    assert ("codebook8" in features) == (codebook == "int8")
    assert {"ans", "bundle"} & set(features) == ({"ans", "bundle"} if coding == "ans" and file.recipe.k > 1 else set())


GOLDEN = Path(__file__).resolve().parents[1] / "golden"
GOLDEN_SPREAD = Spread(
    codes=np.array([[72, 60, 0], [70, 72, 72], [1, 71, 72]], dtype=np.uint8),
    grids={"conv.weight": (2, 2), "fc.weight": (2, 2), "flat.weight": (1, 5)},
    rows={name: np.array(own, dtype=np.uint8) for name, own in
          {"conv.weight": [0, 2], "fc.weight": [1, 1], "flat.weight": [2]}.items()},
    columns={name: np.array(own, dtype=np.uint8) for name, own in
             {"conv.weight": [2, 0], "fc.weight": [1, 4], "flat.weight": [1]}.items()},
    zero=1,
)  # fmt: skip
"""Classes of the golden file's blocks that nothing speaks for; some lie beyond the least and the largest."""


def write_golden(path: Path, coding: str) -> dict[str, torch.Tensor]:
    """A small file with every extension that this coding goes with; returns what it decodes to."""
    motifs, step = torch.tensor([[1, -2], [0, 0], [127, 64]], dtype=torch.int8), 0.125
    norm = torch.tensor([1.5, -0.25])
    infos = (TensorInfo("conv.weight", (2, 3), torch.float32), TensorInfo("fc.weight", (3, 2), torch.bfloat16))
    infos += (TensorInfo("flat.weight", (9,), torch.float16),)
    builder = MosaicBuilder(3)
    builder.add(infos[0], np.array([2, 1, 0, 0]), 0.5, Layout(2), torch.tensor([191, 201], dtype=torch.uint8))
    builder.add(infos[1], np.array([1, 2, 0, 0]), 0.25, Layout(2, transposed=True))
    builder.add(infos[2], np.array([0, 0, 1, 2, 0]), 0.125)
    mosaic = builder.finish(motifs, step, energy=8, sampled_blocks=0)
    stored = [StoredTensor(CODEBOOK, torch.int8, (3, 2), lambda: [tensor_data(mosaic.codebook)])]
    assert mosaic.scales is not None
    scales = tensor_data(mosaic.scales)
    stored.append(StoredTensor(SCALES, torch.uint8, (2,), lambda: [scales]))
    stored.append(StoredTensor("norm.weight", torch.float16, (2,), lambda: [tensor_data(norm.half())]))
    counts = store_counts(mosaic.usage)
    model, packed = IndexModel(read_counts(counts, 3)), get_coding("packed")
    table = {"ans": (COUNTS, counts), "spread": (SPREAD, GOLDEN_SPREAD.to_bytes())}.get(coding)
    if table is not None:
        stored.append(StoredTensor(table[0], torch.uint8, (len(table[1]),), lambda: [table[1]]))
    for tensor in mosaic.tensors:
        indices = mosaic.indices(tensor, backwards=True)
        plain = packed.encode(MosaicIndices(mosaic)).stream(part_of(tensor)).data()
        data = b"".join(plain) if coding == "packed" else model.encode(indices, tensor.blocks)
        if coding == "spread":
            models = [IndexModel(own) for own in counts_of(GOLDEN_SPREAD.codes)]
            classes, own_indices = GOLDEN_SPREAD.classes(tensor.name).reshape(-1), mosaic.indices(tensor)
            data = encode_by_class(models, classes, np.concatenate(list(own_indices)))
        data += bytes(tensor.guarded(len(data)) - len(data))
        stored.append(StoredTensor(tensor.name, torch.uint8, (len(data),), lambda data=data: [data]))
    recipe = Recipe(
        s=2,
        k=3,
        blocks=mosaic.blocks,
        distortion=mosaic.distortion,
        energy=mosaic.energy,
        tensors={tensor.name: tensor for tensor in mosaic.tensors},
        cast={"norm.weight": torch.float32},
        aliases={"tied": "fc.weight"},
        extra={"method": "random", "seed": 0},
        codebook_step=step,
        coding=coding,
    )
    write_container(path, stored, recipe)
    low, high = scale_values(torch.tensor([191, 201], dtype=torch.uint8))
    conv = torch.tensor([[15.875, 8, 0], [0.125, -0.25, 0.125]]) * torch.stack([low, high])[:, None]
    fc = torch.tensor([[0, 0, 15.875], [0.125, -0.25, 0.125]]).T.bfloat16()
    flat = torch.tensor([0.125, -0.25, 0.125, -0.25, 0, 0, 15.875, 8, 0.125]).half()
    return {"conv.weight": conv, "fc.weight": fc, "flat.weight": flat, "norm.weight": norm, "tied": fc}


@pytest.mark.parametrize("coding", ["packed", "ans", "spread"])
def test_golden_bytes_pin_the_extensions(tmp_path: Path, coding: str) -> None:
    golden = GOLDEN / f"extensions_{coding}.momos.safetensors"
    expected = write_golden(tmp_path / "x", coding)
    decoded = load_file(golden)
    assert decoded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert decoded[name].dtype == tensor.dtype
        assert torch.equal(decoded[name], tensor), name
    if coding == "packed":
        assert (tmp_path / "x").read_bytes() == golden.read_bytes()
    # zlib's versions deflate differently, and inflate to the same.
    tensors, recipe = contents(tmp_path / "x")
    golden_tensors, golden_recipe = contents(golden)
    assert json.dumps(recipe) == json.dumps(golden_recipe)
    assert {name: tensor.tobytes() for name, tensor in tensors.items()} == {
        name: tensor.tobytes() for name, tensor in golden_tensors.items()
    }


def test_scaled_rows_find_the_motifs_of_their_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "CHUNK_VALUES", 10)  # a row or two at a time
    motifs = np.array([[1, 1], [1, -1], [0, 0]], dtype=np.float32)
    pattern = torch.tensor([[1.0, 1, 1, -1, 1], [1, -1, -1, 1, 1]])
    weight = torch.cat([pattern * 2.0**i for i in range(-9, 7)])
    file = write(
        tmp_path / "x", {"w": weight}, layouts={"w": Layout(32)}, scaled=("w",), motifs=np.vstack([motifs, -motifs[:2]])
    )
    # The last block of a row is half padding: (1, 1) and (1, -1) are both exact there.
    assert torch.equal(file.get("w"), weight)
    assert file.recipe.distortion == 0
    assert len(file.indices("w")) == 32 * 3


def test_a_nan_in_rows_is_told_by_the_index_in_its_own_shape(tmp_path: Path) -> None:
    weight = draw((6, 4, 2))
    weight[5, 1, 1] = float("nan")
    with pytest.raises(MomosError, match=r"^w \[6, 4, 2\]: nan at index \[5, 1, 1\]"):
        write(
            tmp_path / "x",
            {"w": weight},
            layouts={"w": Layout(8, transposed=True)},
            motifs=np.zeros((1, 4), np.float32),
        )


def test_values_that_a_scale_drives_beyond_the_dtype_are_refused() -> None:
    info = memory_checkpoint({"w": draw((2, 4)).half()}).tensors.infos[0]
    with pytest.raises(MomosError, match=r"^w \[2, 4\]: its decoded values are not finite"):
        MosaicBuilder(1).add(info, np.zeros(2, np.int32), float("inf"))


def test_a_name_is_the_formats_own_only_where_its_feature_is_used(tmp_path: Path) -> None:
    state = {"momos.scales": torch.arange(3), "w": draw((4, 6))}
    motifs = np.ones((2, 3), np.float32)
    file = write(tmp_path / "x", state, motifs=motifs)
    assert torch.equal(file.get("momos.scales"), torch.arange(3))
    with pytest.raises(MomosError, match=r"'momos\.scales' cannot be stored.*rename it"):
        write(tmp_path / "x", state, motifs=motifs, layouts={"w": Layout(4)}, scaled=("w",))


def test_scales_are_no_tensor_of_the_checkpoint(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x",
        {"w": draw((4, 6))},
        motifs=np.ones((2, 3), np.float32),
        layouts={"w": Layout(4)},
        scaled=("w",),
    )
    assert list(file) == ["w"]
    with pytest.raises(KeyError):
        file.get("momos.scales")


def test_an_unknown_feature_beside_known_ones_is_named_alone() -> None:
    with pytest.raises(FormatError, match=r"does not know: \['wavelets'\]; upgrade"):
        features_of({"features": ["layout", "wavelets"]})
