"""How far outputs are from the original's."""

import pytest
import torch
from torch import nn

from momos_compress.networks.outputs import mean_loss, output_loss, output_weight

pytestmark = pytest.mark.usefixtures("one_thread")


def test_losses_are_relative_and_of_tokens_that_are_there() -> None:
    scores, target = torch.randn(5, 4), torch.randn(5, 4)
    p, q = target.softmax(dim=1), scores.softmax(dim=1)
    assert float(output_loss(scores, target, None)) == pytest.approx(float((p * (p / q).log()).sum(dim=1).mean()))
    hidden, wanted, mask = torch.randn(2, 3, 4), torch.randn(2, 3, 4), torch.tensor([[1, 1, 0], [1, 0, 0]])
    real = mask.bool()
    expected = (hidden - wanted)[real].square().sum() / wanted[real].square().sum()
    torch.testing.assert_close(output_loss(hidden, wanted, mask), expected)
    hidden[~real] = 1e6
    torch.testing.assert_close(output_loss(hidden, wanted, mask), expected)
    one = torch.tensor([[2.0], [1.0]]), torch.tensor([[1.0], [1.0]])
    assert float(output_loss(*one, None)) == 0.5


def test_the_mean_over_batches_weighs_samples_and_tokens() -> None:
    torch.manual_seed(0)
    original, other = nn.Linear(6, 4), nn.Linear(6, 4)
    inputs = torch.randn(10, 6)
    with torch.no_grad():
        p, q = (network(inputs).double().log_softmax(1) for network in (original, other))
    expected = float((p.exp() * (p - q)).sum(1).mean())
    batches = [inputs[:7], inputs[7:]]
    assert mean_loss(original, original, batches, device="cpu") == pytest.approx(0, abs=1e-6)
    assert mean_loss(original, other, batches, device="cpu") == pytest.approx(expected, rel=1e-4)
    tokens = [part.unsqueeze(0) for part in batches]
    assert mean_loss(original, other, tokens, device="cpu", scores=True) == pytest.approx(expected, rel=1e-4)
    assert mean_loss(original, other, tokens, device="cpu") != pytest.approx(expected, rel=0.1)


def test_divergence_of_tokens_leaves_out_those_that_fill_a_batch() -> None:
    torch.manual_seed(0)
    out, target = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    real = mask.bool()
    expected = output_loss(out[real], target[real], None)
    torch.testing.assert_close(output_loss(out, target, mask, scores=True), expected)
    assert float(output_weight(target, mask, scores=True)) == 8
