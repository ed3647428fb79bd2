"""What holds for everything that is collected of a network."""

from typing import Any

import pytest
import torch
from small_networks import weights_of
from torch import nn

from momos_compress import MomosError
from momos_compress.calibration.gradients import collect_gradients
from momos_compress.calibration.moments import collect_moments, collect_shift
from momos_compress.calibration.sampling import Sampling

NONE = "(--calibrate none|`calibrate='none'`)"

pytestmark = pytest.mark.usefixtures("one_thread")


class Failing(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = super().forward(x)
        if len(x) == 1:
            raise ValueError("one is\ntoo few")
        return out


def state_of(model: nn.Module) -> list[object]:
    return [
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
        [parameter.tolist() for parameter in (*model.parameters(), *model.buffers())],
        [module.training for module in model.modules()],
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_left_as_it_was(fails: bool) -> None:
    model = Failing(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Dropout(0.0)).eval()
    model[0].weight.requires_grad_(False)
    model[3].train()
    before = state_of(model)
    batches = [torch.randn(4, 4), torch.randn(1 if fails else 3, 4)]
    layers, sampling = weights_of(model), Sampling(batches, 5, device="cpu", seed=0)
    for collect in (
        lambda: collect_moments(model, layers, sampling),
        lambda: collect_gradients(model, layers, batches, device="cpu", seed=0),
        lambda: collect_shift(model, model, layers, sampling),
    ):
        if fails:
            with pytest.raises(
                MomosError, match=rf"^Failing fails on a calibration batch \(one is too few\); .*{NONE}$"
            ):
                collect()
        else:
            collect()
        assert state_of(model) == before


def test_outputs_that_are_no_tensor_are_refused() -> None:
    class Words(nn.Linear):
        def forward(self, x: torch.Tensor) -> Any:
            return "words"

    with pytest.raises(MomosError, match=f"gives str cannot be calibrated; use {NONE}$"):
        collect_moments(Words(2, 2), [], Sampling([torch.ones(1, 2)], 1, device="cpu", seed=0))
