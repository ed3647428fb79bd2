"""What a forward pass takes."""

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from momos_compress.networks import costs
from momos_compress.networks.costs import SampleValues, products_of, sample_values, samples_at_once
from momos_compress.networks.forward import forward, last_scores_only

pytestmark = pytest.mark.usefixtures("one_thread")


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.Flatten(),
        nn.Linear(6 * 36, 5),
    ).eval()  # fmt: skip


def test_what_layers_give_for_a_sample_is_counted() -> None:
    model = network()
    outputs = [out.numel() for out in layer_outputs(model, torch.randn(1, 3, 8, 8))]
    assert len(outputs) == len(model)
    assert sample_values(model, torch.randn(2, 3, 8, 8)) == SampleValues(
        8 * 6 * 6, 8 * 6 * 6, sum(outputs), on_cpu=True
    )
    assert sample_values(nn.Sequential(model), torch.randn(2, 3, 8, 8)).every == sum(outputs)


def test_scores_of_a_vocabulary_count_apart_and_may_be_left_to_the_last_token() -> None:
    config = LlamaConfig(
        vocab_size=100, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).eval()
    inputs = {"input_ids": torch.randint(0, 100, (2, 5)), "attention_mask": torch.ones(2, 5, dtype=torch.long)}
    values = sample_values(model, inputs)
    assert (values.largest, values.inner) == (5 * 100, 5 * 12)
    with torch.no_grad():
        whole = forward(model, inputs)
        with last_scores_only(model):
            torch.testing.assert_close(forward(model, inputs), whole[:, -1:])
        assert forward(model, inputs).shape == whole.shape
        with last_scores_only(network()):
            pass


def test_how_many_samples_a_pass_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCH_VALUES", "INNER_VALUES", "CACHED_VALUES", "TRAINED_VALUES"):
        monkeypatch.setattr(costs, name, {"B": 90, "I": 90, "C": 50, "T": 200}[name[0]])
    values = SampleValues(largest=10, inner=3, every=60, on_cpu=True)
    assert (values.most, values.most_within, values.fastest, values.trained) == (9, 30, 5, 3)
    assert SampleValues(largest=10, inner=3, every=60, on_cpu=False).fastest == 9
    huge = SampleValues(largest=1000, inner=1000, every=1000, on_cpu=True)
    assert (huge.most, huge.most_within, huge.fastest, huge.trained) == (1, 1, 1, 1)
    assert samples_at_once(network(), torch.randn(2, 3, 8, 8)) == 1


def layer_outputs(model: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    return [x := layer(x) for layer in model]


def test_products_of_one_sample() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6 * 4, 5))
    assert products_of(model, torch.zeros(1, 4, 4, 4)) == 6 * 18 * 4 + 24 * 5
