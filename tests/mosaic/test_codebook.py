import numpy as np
import pytest
import torch

from momos_compress import MomosError
from momos_compress.mosaic.codebook import CODEBOOK_DTYPES, decode_codebook, quantise_codebook


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_floats_are_rounded_to_their_dtype(dtype: str) -> None:
    motifs = np.random.default_rng(0).standard_normal((9, 4), dtype=np.float32)
    stored, step = quantise_codebook(motifs, dtype)
    assert step is None
    assert stored.dtype == CODEBOOK_DTYPES[dtype]
    assert torch.equal(decode_codebook(stored, step), torch.from_numpy(motifs).to(stored.dtype).float())


@pytest.mark.parametrize("size", [1.0, 1e-3, 3.4e38, 1e-38, 1e-44])
def test_int8_is_within_half_a_step_and_keeps_zero(size: float) -> None:
    motifs = np.random.default_rng(0).uniform(-1, 1, (300, 3)).astype(np.float32)
    motifs[0], motifs[1, 0] = 0, 1
    motifs *= np.float32(size)
    stored, step = quantise_codebook(motifs, "int8")
    assert stored.dtype == torch.int8
    assert step is not None
    assert float(np.float32(step)) == step
    decoded = decode_codebook(stored, step)
    assert decoded.dtype == torch.float32
    assert not decoded[0].any()
    assert float((decoded.double() - torch.from_numpy(motifs).double()).abs().max()) <= step * 0.5001
    if size > 1e-30:
        assert int(stored.max()) == 127


def test_int8_of_zeros() -> None:
    stored, step = quantise_codebook(np.zeros((2, 3), np.float32), "int8")
    assert step == 1
    assert not stored.any()


@pytest.mark.parametrize(("dtype", "value"), [("float16", 1e5), ("int8", float("inf")), ("float32", float("nan"))])
def test_what_a_dtype_cannot_hold_is_refused(dtype: str, value: float) -> None:
    with pytest.raises(MomosError, match=f"beyond {dtype}; use"):
        quantise_codebook(np.array([[value, 1.0]], dtype=np.float32), dtype)
