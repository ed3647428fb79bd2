import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import memory_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from second_reader import contents

from momos_compress import FormatError, Settings, compress, load_file
from momos_compress.container.affine8 import HEADER_BYTES, MIN_VALUES, POSITIVE_TOLERANCE, TOLERANCE, decode, encode
from momos_compress.container.reader import MomosFile


def test_the_bytes_are_pinned() -> None:
    stored = encode(torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.96875]))
    assert stored is not None
    assert stored.numpy().tobytes().hex() == "80bf003d0020406080a0c0ff"
    low, step = np.frombuffer(stored[:4].numpy().tobytes(), dtype="<u2").astype(np.uint32) << 16
    expected = np.uint32(low).view(np.float32) + np.uint32(step).view(np.float32) * stored[4:].numpy().astype(
        np.float32
    )
    assert np.array_equal(decode(stored).numpy(), expected)


@given(
    st.integers(0, 10**6),
    st.integers(MIN_VALUES, 300),
    st.sampled_from([1e-6, 1e-2, 1.0, 1e4]),
    st.sampled_from([0.0, 1.0, -3.0]),
)
def test_what_is_kept_is_close_and_inside_the_range(seed: int, n: int, size: float, shift: float) -> None:
    values = size * (torch.randn(n, generator=torch.Generator().manual_seed(seed)) + shift)
    stored = encode(values)
    if stored is None:
        return
    found = decode(stored)
    assert len(stored) == n + HEADER_BYTES
    assert float((found - values).square().mean().sqrt()) <= TOLERANCE * float(values.abs().median()) * (1 + 1e-5)
    if float(values.min()) >= 0:
        positive = values > 0
        assert float(((found - values).abs()[positive] / values[positive]).max()) <= POSITIVE_TOLERANCE


def test_variances_of_dead_channels_do_not_hide_what_the_others_would_lose() -> None:
    # As in EfficientNet-Lite0: channels of variance 0 beside some whose own is far below the largest.
    variance = torch.logspace(-4, 1, 100)
    assert encode(variance) is None
    variance[7] = 0.0
    assert encode(variance) is None
    even = torch.linspace(1, 2, 100)
    even[7] = 0.0
    stored = encode(even)
    assert stored is not None
    assert float(decode(stored)[7]) == 0


def test_values_that_a_byte_cannot_hold_are_left_to_float16() -> None:
    outlier = torch.full((100,), 0.01)
    outlier[3] = 1000.0
    outlier[5] = -0.02
    variance = torch.linspace(1, 10, 50)
    variance[7:9] = torch.tensor([1e-4, 3e-4])  # near zero, a variance makes outputs that are not finite
    for values in (outlier, torch.zeros(3), torch.tensor([1.0, float("nan")] * 8), torch.zeros(4, 4), variance):
        assert encode(values) is None
    zeros = encode(torch.zeros(20))
    assert zeros is not None
    assert not decode(zeros).any()


@pytest.mark.parametrize("constant", [1.0, -0.3, 1e-30, 3e38])
def test_a_constant_survives(constant: float) -> None:
    stored = encode(torch.full((30,), constant))
    assert stored is not None
    assert torch.allclose(decode(stored), torch.full((30,), constant), rtol=1e-2)


def network() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {"fc.weight": torch.randn(64, 32, generator=generator)}
    return state | {
        "norm.weight": 1 + 0.1 * torch.randn(64, generator=generator),
        "norm.bias": torch.randn(64, generator=generator, dtype=torch.float64),
        "half.bias": torch.randn(64, generator=generator).half(),
        "short": torch.randn(3, generator=generator),
    }


def test_a_file_holds_vectors_in_bytes_and_gives_them_back(tmp_path: Path) -> None:
    state = network()
    path = tmp_path / "x.momos.safetensors"
    report = compress(memory_checkpoint(state), Settings(k=16, bdm=False), path)
    assert report.stored_in_bytes == 3
    file, tensors = load_file(path), contents(path)[0]
    for name in ("norm.weight", "norm.bias", "half.bias"):
        assert file[name].dtype == state[name].dtype
        assert float((file[name] - state[name]).norm() / state[name].norm()) < 2 * TOLERANCE
        raw = tensors[name].tobytes()
        low, step = (np.frombuffer(raw[:4], dtype="<u2").astype(np.uint32) << 16).view(np.float32)
        codes = np.frombuffer(raw[4:], dtype=np.uint8).astype(np.float32)
        assert torch.equal(file[name], torch.from_numpy(low + step * codes).to(state[name].dtype))
    assert torch.equal(file["short"], state["short"].half().float())
    assert "affine8" in MomosFile(path).recipe.features


def test_keep_and_the_papers_protocol_store_no_bytes(tmp_path: Path) -> None:
    state = network()
    checkpoint = memory_checkpoint(state, parameters=tuple(name for name, t in state.items() if t.is_floating_point()))
    for settings in (Settings(k=16, bdm=False, passthrough="keep"), Settings(k=16, bdm=False, protocol="paper")):
        report = compress(checkpoint, settings, tmp_path / "x.momos.safetensors")
        assert report.stored_in_bytes == 0


def test_a_checkpoint_with_bytes_of_its_own_names_its_vectors(tmp_path: Path) -> None:
    state = network() | {"table": torch.arange(100, dtype=torch.uint8)}
    path = tmp_path / "x.momos.safetensors"
    compress(memory_checkpoint(state), Settings(k=16, bdm=False), path)
    assert torch.equal(load_file(path)["table"], state["table"])


def test_a_range_that_is_not_finite_is_refused() -> None:
    with pytest.raises(FormatError, match="not finite"):
        decode(torch.tensor([128, 127, 0, 0, 1, 2, 3], dtype=torch.uint8))


def test_the_recipe_names_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.momos.safetensors"
    compress(memory_checkpoint(network()), Settings(k=16, bdm=False), path)
    recipe = contents(path)[1]
    assert (
        json.dumps(recipe["affine8"], sort_keys=True)
        == '{"float16": ["half.bias"], "float32": "*", "float64": ["norm.bias"]}'
    )
