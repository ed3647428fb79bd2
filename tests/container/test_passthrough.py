import pytest
import torch

from momos_compress.container.passthrough import stored_dtype


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1, -3.0, 500.0], torch.float16),
        ([0.0, 0.0], torch.float16),
        ([1.0, 1e-9], torch.float16),  # an error of 1e-9 beside 1 is nothing
        ([1e5, 1.0], torch.float32),  # overflows
        ([1e-7, 2e-7], torch.float32),  # all of it would be lost in subnormals
        ([float("nan"), 1.0], torch.float32),
        ([float("inf"), 1.0], torch.float32),
    ],
)
def test_half_is_taken_where_it_is_exact_enough(values: list[float], expected: torch.dtype) -> None:
    tensor = torch.tensor(values)
    assert stored_dtype(tensor, "auto") == expected
    assert stored_dtype(tensor, "keep") == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64, torch.bool, torch.float16, torch.int8])
def test_other_dtypes_are_kept(dtype: torch.dtype) -> None:
    assert stored_dtype(torch.ones(3, dtype=dtype), "auto") == dtype


def test_random_norms_keep_their_relative_error() -> None:
    tensor = torch.randn(10_000, generator=torch.Generator().manual_seed(0)).exp()
    assert stored_dtype(tensor, "auto") == torch.float16
    error = (tensor.half().float() - tensor).norm() / tensor.norm()
    assert 0 < float(error) < 2**-11
