"""Inputs made from batch norms."""

import pytest
import torch
from torch import nn

from momos_compress import MomosError, open_checkpoint
from momos_compress.calibration.channels import batch_norms, channel_moments
from momos_compress.calibration.synthetic import BatchNormMatch
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


def test_training_matches_the_statistics_better_than_the_start_and_leaves_the_network_alone() -> None:
    model = model_of(open_checkpoint("digits"))
    model.conv1.weight.requires_grad_(False)
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    told: list[int] = []
    start = torch.randn(24, 1, 8, 8)
    before = start.clone()
    match = BatchNormMatch(model)
    images = match.train(start, 20, told.append)
    assert torch.equal(start, before)
    assert images.shape == start.shape
    assert not images.requires_grad
    assert told == [24] * 20
    assert mismatch(model, images) < 0.7 * mismatch(model, start)
    assert torch.equal(images, match.train(start, 20))
    assert torch.equal(match.train(start, 0), start)
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_pieces_of_a_batch_are_trained_as_the_whole_is(at_once: int) -> None:
    model = model_of(open_checkpoint("digits"))
    images = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = BatchNormMatch(model).train(images, 3)
    pieces = BatchNormMatch(model).train(images, 3, at_once=at_once)
    assert float((whole - images).abs().max()) > 0.01
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-3)


def test_a_network_that_fails_is_left_as_it_was() -> None:
    model = model_of(open_checkpoint("digits"))
    with pytest.raises(MomosError, match="fails on a calibration batch"):
        BatchNormMatch(model).train(torch.randn(2, 5, 8, 8), 1)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())
