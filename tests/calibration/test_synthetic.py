"""Inputs made from batch norms."""

import pytest
import timm
import torch
from torch import nn

from momos_compress import MomosError, open_checkpoint
from momos_compress.calibration.channels import batch_norms, channel_moments
from momos_compress.calibration.synthetic import synthetic_images
from momos_compress.networks.load import model_of

pytestmark = pytest.mark.usefixtures("one_thread")


def mismatch(model: nn.Module, images: torch.Tensor) -> float:
    """How far what enters batch norms is from their statistics."""
    total = 0.0
    handles = []

    def see(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        nonlocal total
        mean, variance = channel_moments(args[0])
        assert isinstance(module.running_mean, torch.Tensor)
        assert isinstance(module.running_var, torch.Tensor)
        total += float(((mean - module.running_mean).square() / module.running_var).mean())
        total += float(((variance / module.running_var).sqrt() - 1).square().mean())

    for norm in batch_norms(model).values():
        handles.append(norm.register_forward_pre_hook(see))
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return total


def test_synthetic_images_match_the_statistics_better_than_noise() -> None:
    model = model_of(open_checkpoint("digits"))
    model.conv1.weight.requires_grad_(False)
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    told: list[int] = []

    def make(seed: int) -> torch.Tensor:
        return synthetic_images(
            model, (1, 8, 8), count=24, steps=20, batch=16, seed=seed, device="cpu", progress=told.append
        )

    images = make(0)
    assert images.shape == (24, 1, 8, 8)
    assert not images.requires_grad
    assert sum(told) == 24 * 20
    assert mismatch(model, images) < 0.3 * mismatch(model, torch.randn(24, 1, 8, 8))
    assert torch.equal(images, make(0))
    assert not torch.equal(images, make(1))
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_without_batch_norms_has_no_synthetic_images() -> None:
    with pytest.raises(MomosError, match=r"^`calibrate='synthetic'` needs batch norms, and VisionTransformer has none"):
        synthetic_images(timm.create_model("test_vit"), (3, 8, 8), count=1, steps=1, batch=1, seed=0, device="cpu")
