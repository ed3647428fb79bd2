"""A weight over its scales in whole blocks, and back."""

import pytest
import torch
from fit_states import positive, untold

from momos_compress.calibration.alternation import first_pass
from momos_compress.calibration.damping import damped
from momos_compress.calibration.search import Rate
from momos_compress.calibration.state import FitState, LayerState, normalised
from momos_compress.calibration.store import MatrixStore
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import encode_scales, scale_values

pytestmark = pytest.mark.usefixtures("one_thread")


def padded_pair(values: float) -> tuple[FitState, FitState]:
    """The same layer, 10 columns at s = 4, and motifs that differ only in what stands in the padding."""
    torch.manual_seed(0)
    out = []
    for fill in (0.0, values):
        torch.manual_seed(0)
        weight, moments = torch.randn(40, 10), positive(1, 10)
        store = MatrixStore()
        store["layer"], _ = damped(moments, 4)
        scales = encode_scales(weight.square().mean(dim=1).sqrt())
        targets = normalised(weight, Layout(40), scales, 1, 4)
        assert not targets[:, :, 10:].any()
        targets[:, :, 10:] = fill
        goals = MatrixStore()
        goals["layer"] = targets
        layer = LayerState("layer", Layout(40), scales, (1, 40, 12), torch.ones(1, 40), True)
        book = torch.randn(32, 4)
        out.append(
            FitState([layer], goals, store, book, Rate.uniform(32, 0), rate_weight=0.0, zero_motif=False, device="cpu")
        )
    return out[0], out[1]


def test_what_stands_in_the_padding_hardly_counts() -> None:
    plain, filled = padded_pair(1.0)
    for fit in (plain, filled):
        first_pass(fit, untold)
    layers = plain.layers[0], filled.layers[0]
    assert (layers[0].indices == layers[1].indices).float().mean() > 0.99
    moments = plain.moments["layer"]
    real = moments[:, :10, :10].diagonal(dim1=1, dim2=2).mean()
    assert float(moments[0, 10:, 10:].diagonal().max()) < 1e-3 * float(real)


def test_the_decoded_weight_has_no_padding_and_the_rows_scales() -> None:
    weight = torch.randn(6, 10)
    scales = encode_scales(weight.square().mean(dim=1).sqrt())
    layer = LayerState("w", Layout(6), scales, (2, 3, 12), torch.ones(2, 3), False)
    layer.indices = torch.randint(0, 5, (2, 3, 3), dtype=torch.int32)
    book = torch.randn(5, 4)
    decoded = layer.weight(book, (6, 2, 5))
    expected = book[layer.indices.long()].reshape(6, 12)[:, :10] * scale_values(scales)[:, None]
    assert torch.equal(decoded, expected.reshape(6, 2, 5))
    transposed = LayerState("w", Layout(6, transposed=True), scales, (1, 6, 12), torch.ones(1, 6), False)
    transposed.indices = layer.indices.reshape(1, 6, 3)
    assert torch.equal(transposed.weight(book, (10, 6)), expected.T)
    # A weight over its scales, and back.
    blocks = normalised(weight, Layout(6), scales, 2, 4)
    assert blocks.shape == (2, 3, 12)
    torch.testing.assert_close(blocks.reshape(6, 12)[:, :10] * scale_values(scales)[:, None], weight)
