"""Small networks that a calibration can be tried on, and what can be seen of them."""

import copy
from collections.abc import Callable

import torch
from conftest import memory_checkpoint
from torch import nn

from momos_compress.calibration.channels import batch_norms
from momos_compress.data.batches import Inputs
from momos_compress.networks.layers import LayerWeight, find_layers


def weights_of(model: nn.Module) -> list[LayerWeight]:
    """The layers of all tensors of two and more dimensions."""
    infos = memory_checkpoint(model.state_dict()).tensors.infos
    return find_layers(model, [info for info in infos if len(info.shape) > 1])


def coarse(model: nn.Module, share: float = 0.3) -> nn.Module:
    """A copy whose weights of two and more dimensions are wrong by this share, larger on the whole."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.ndim > 1:
                parameter *= 1 + share
                parameter += share * parameter.std() * torch.randn_like(parameter)
    return other


def trained(model: nn.Module) -> nn.Module:
    """With running statistics that are not those of the inputs below."""
    for norm in batch_norms(model).values():
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(std=0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return model.eval()


def convolutions(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Module:
    return trained(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False), norm(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8, bias=False), norm(8), nn.ReLU(),
            nn.Conv2d(8, 6, 1), norm(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 5),
        )
    )  # fmt: skip


def outputs_of(model: nn.Module, inputs: Inputs, names: list[str]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(lambda module, args, out, name=name: found.update({name: out}))
        for name in names
    ]
    with torch.no_grad():
        model(**inputs) if isinstance(inputs, dict) else model(inputs)
    for handle in handles:
        handle.remove()
    return found


class Texts(nn.Module):
    """A language model, as far as calibration can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)
        self.inner = nn.Linear(6, 6)
        self.out = nn.Linear(6, 20, bias=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.inner(self.table(input_ids)))
        out: torch.Tensor = self.out(hidden)
        return out


def texts() -> list[Inputs]:
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    ids = torch.randint(0, 20, (3, 5), generator=generator)
    return [{"input_ids": ids[:2], "attention_mask": mask[:2]}, {"input_ids": ids[2:], "attention_mask": mask[2:]}]
