"""How far outputs are from the original's."""

import pytest
import torch

from momos_compress.networks.outputs import output_loss

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
