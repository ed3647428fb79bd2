from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch

from momos_compress.mosaic.scales import apply_scales, encode_scales, scale_values


def test_values_are_the_nearest_float32_of_the_powers() -> None:
    getcontext().prec = 60
    found = scale_values(torch.arange(256, dtype=torch.uint8))
    assert found.dtype == torch.float32
    for code, value in enumerate(found.tolist()):
        exact = Decimal(2) ** (Decimal(code - 192) / 8)
        ulp = Decimal(float(np.spacing(np.float32(value))))
        # Below a power of two the spacing halves, and no exact value lies there.
        assert abs(Decimal(value) - exact) <= ulp / 2, code
    assert found[192] == 1
    assert found[0] == 2**-24
    assert found[200] == 2


def test_bits_of_some_values() -> None:
    codes = torch.tensor([0, 1, 191, 193, 255], dtype=torch.uint8)
    bits = scale_values(codes).view(torch.int32).tolist()
    assert [f"{value:08x}" for value in bits] == ["33800000", "338b95c2", "3f6ac0c7", "3f8b95c2", "436ac0c7"]


def test_every_code_is_the_nearest_of_its_value() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(encode_scales(scale_values(codes)), codes)
    # A sixteenth of an octave away lies the border to the next code.
    inner = codes[1:-1]
    for factor in (2.0 ** (0.99 / 16), 2.0 ** (-0.99 / 16)):
        assert torch.equal(encode_scales(scale_values(inner).double() * factor), inner)


def test_rows_are_multiplied_before_columns_and_padding_by_rows_alone() -> None:
    draw = np.random.default_rng(0)
    rows, columns = (torch.from_numpy(draw.integers(256, size=n, dtype=np.uint8)) for n in (3, 5))
    blocks = torch.from_numpy(draw.standard_normal((9, 2), dtype=np.float32))  # 3 rows of 5 columns and a padded one
    expected = blocks.numpy().reshape(3, 6).copy()
    for row in range(3):
        expected[row] *= scale_values(rows).numpy()[row]
        for column in range(5):
            expected[row, column] *= scale_values(columns).numpy()[column]
    none = torch.empty(0, dtype=torch.uint8)
    found = blocks.clone()
    apply_scales(found, rows, columns)
    assert np.array_equal(found.numpy().reshape(3, 6), expected)
    plain = blocks.clone()
    apply_scales(plain, none, none)
    assert torch.equal(plain, blocks)


@pytest.mark.parametrize(("rms", "code"), [(0.0, 192), (1e-30, 0), (1e-45, 0), (1e9, 255), (1.0, 192), (0.5, 184)])
def test_ends_and_zero(rms: float, code: int) -> None:
    assert encode_scales(torch.tensor([rms])).tolist() == [code]
