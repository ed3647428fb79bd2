"""What a forward pass takes."""

import pytest
import torch
from torch import nn

from momos_compress.networks import costs
from momos_compress.networks.costs import products_of, samples_at_once

pytestmark = pytest.mark.usefixtures("one_thread")


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.Flatten(),
        nn.Linear(6 * 36, 5),
    ).eval()  # fmt: skip


def test_how_many_samples_fit_goes_by_the_largest_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "BATCH_VALUES", 10 * 8 * 6 * 6)
    model = network()
    assert samples_at_once(model, torch.randn(2, 3, 8, 8)) == 10
    monkeypatch.setattr(costs, "BATCH_VALUES", 1)
    assert samples_at_once(model, torch.randn(2, 3, 8, 8)) == 1
    # A backward pass wants what every layer gave, not the largest alone.
    outputs = [out.numel() for out in layer_outputs(model, torch.randn(1, 3, 8, 8))]
    assert len(outputs) == len(model)
    monkeypatch.setattr(costs, "TRAINED_VALUES", 5 * sum(outputs))
    assert samples_at_once(model, torch.randn(2, 3, 8, 8), trained=True) == 5
    assert samples_at_once(nn.Sequential(model), torch.randn(2, 3, 8, 8), trained=True) == 5


def layer_outputs(model: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    return [x := layer(x) for layer in model]


def test_products_of_one_sample() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6 * 4, 5))
    assert products_of(model, torch.zeros(1, 4, 4, 4)) == 6 * 18 * 4 + 24 * 5
