"""How much errors count, and the blocks that are drawn by it."""

import pytest
import torch
from small_networks import weights_of
from torch import nn

from momos_compress.calibration.importance import drawn_blocks, row_weights
from momos_compress.calibration.moments import collect_moments
from momos_compress.calibration.sampling import Sampling
from momos_compress.calibration.state import LayerState, normalised
from momos_compress.calibration.statistics import Statistics
from momos_compress.mosaic.scales import encode_scales, scale_values

pytestmark = pytest.mark.usefixtures("one_thread")


def test_importance_counts_the_mean_that_moments_are_taken_about() -> None:
    """The same output gradients, on inputs with a large mean: squared gradients hold it, repaired or not."""
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 8))
    layers, inputs = weights_of(model), torch.randn(64, 6) + 5
    found = []
    for centred in ((), {"0.weight"}):
        sampling = Sampling([inputs], 64, device="cpu", seed=0, centred=centred)
        gradients = {name: torch.arange(1.0, rows + 1) for name, rows in (("0.weight", 4), ("2.weight", 8))}
        statistics = Statistics(collect_moments(model, layers, sampling), gradients)
        fits = []
        for layer in layers:
            weight = model.state_dict()[layer.parameter]
            scales = encode_scales(weight.square().mean(dim=1).sqrt())
            targets = normalised(weight, layer.layout, scales, 1, 2)
            unknown = torch.ones(targets.shape[:2])
            fits.append(LayerState(layer.parameter, layer.layout, scales, (1, *targets.shape[1:]), unknown, True))
        weights = row_weights(fits, layers, statistics)
        found.append(weights)
        first = weights[0] / scale_values(fits[0].scales).square()
        assert torch.allclose(first / first[:, :1], torch.arange(1.0, 5)[None])
    for whole, centred in zip(*found, strict=True):
        assert torch.allclose(whole, centred)


@pytest.mark.parametrize(("blocks", "count"), [(9, 9), (9, 8), (9, 7), (9, 1), (1, 1), (5, 12)])
def test_at_least_as_many_blocks_are_drawn_as_there_are_to_be_motifs(blocks: int, count: int) -> None:
    costs = torch.zeros(blocks)
    costs[blocks // 2] = 1.0
    drawn = drawn_blocks(costs, count, seed=0)
    assert len(drawn) >= min(count, blocks)
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < blocks
    assert int((drawn == blocks // 2).sum()) >= len(drawn) // 2
    if count >= blocks:
        assert set(drawn.tolist()) == set(range(blocks))
    assert torch.equal(drawn, drawn_blocks(costs, count, seed=0))
