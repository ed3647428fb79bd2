"""What is said of two networks' outputs, against numpy on their saved logits."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from momos_compress.data.draws import CalibrationData
from momos_compress.networks import comparison
from momos_compress.networks.comparison import kind_of, predicts_next
from momos_compress.networks.fidelity import FIGURES, Fidelity, recorded_fidelity
from momos_compress.networks.meters import output_meter


class Table(nn.Module):
    """Gives the rows of a table that its inputs number, whatever is in them."""

    def __init__(self, rows: torch.Tensor, classes: bool = True) -> None:
        super().__init__()
        self.rows, self.num_classes, self.pretrained_cfg = rows, rows.shape[-1] if classes else 0, {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rows[x]


def numbered(count: int) -> CalibrationData:
    return CalibrationData(f"{count} samples", count, (), lambda at: torch.tensor(list(at)))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def tables(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    one = torch.randn(*shape, generator=draw)
    return one, one + 0.5 * torch.randn(*shape, generator=draw)


def test_scores_of_classes() -> None:
    one, other = tables(150, 7)  # three batches, the last of them smaller
    found = output_meter(Table(one), numbered(150), held_out=True, device="cpu")(Table(other))
    p, q = log_softmax(one.numpy()), log_softmax(other.numpy())
    same = (one.numpy().argmax(1) == other.numpy().argmax(1)).mean()
    assert 0.5 < same < 1
    assert (found.kind, found.samples, found.tokens, found.held_out) == ("classes", 150, None, True)
    assert found.agreement == pytest.approx(same)
    assert found.drop == pytest.approx(100 * (1 - same))
    assert found.kl == pytest.approx((np.exp(p) * (p - q)).sum(axis=1).mean(), rel=1e-5)
    assert (found.mean_cosine, found.perplexity, found.original_perplexity) == (None, None, None)


def test_vectors() -> None:
    one, other = tables(20, 4, 3, 3)
    one[3] = other[3] = 0  # alike, though a vector of zeros has no direction
    found = output_meter(Table(one, False), numbered(20), held_out=None, device="cpu")(Table(other, False))
    a, b = (np.delete(table.reshape(20, -1).numpy(), 3, axis=0) for table in (one, other))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert (found.kind, found.samples, found.agreement, found.kl) == ("vectors", 20, None, None)
    assert found.mean_cosine == pytest.approx((cosines.sum() + 1) / 20, rel=1e-5)


def test_a_network_that_gives_no_numbers_loses_all() -> None:
    one, other = tables(10, 5)
    other[:] = float("nan")
    for classes in (True, False):
        found = output_meter(Table(one, classes), numbered(10), held_out=None, device="cpu")(Table(other, classes))
        assert (found.drop, found.kl) == (100, None)
        assert str(found)
        assert all(math.isfinite(value) for value in found.to_recipe().values() if isinstance(value, float))


def test_a_class_that_the_original_rules_out_counts_nothing() -> None:
    one, other = torch.tensor([[0.0, 1.0, -math.inf]]), torch.tensor([[0.0, 2.0, -math.inf]])
    found = output_meter(Table(one), numbered(1), held_out=None, device="cpu")(Table(other))
    p, q = log_softmax(one[:, :2].numpy()), log_softmax(other[:, :2].numpy())
    assert found.kl == pytest.approx((np.exp(p) * (p - q)).sum(), rel=1e-5)
    assert found.agreement == 1


# Language models


VOCABULARY = 29


def llama(seed: int) -> Any:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **sizes)
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight *= 20  # scores that differ from uniform ones
    return model


def texts(count: int) -> list[list[int]]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, VOCABULARY, draw.integers(2, 12)).tolist() for _ in range(count)]


def padded(items: list[list[int]]) -> dict[str, torch.Tensor]:
    longest = max(map(len, items))
    return {
        "input_ids": torch.tensor([item + [0] * (longest - len(item)) for item in items]),
        "attention_mask": torch.tensor([[1] * len(item) + [0] * (longest - len(item)) for item in items]),
    }


@pytest.mark.parametrize("slice_values", [comparison.SLICE_VALUES, 5 * VOCABULARY, 1])
def test_a_language_model_text_by_text_without_padding(monkeypatch: pytest.MonkeyPatch, slice_values: int) -> None:
    monkeypatch.setattr(comparison, "SLICE_VALUES", slice_values)
    one, other, items = llama(0), llama(0), texts(9)
    with torch.no_grad():
        draw = torch.Generator().manual_seed(1)
        for parameter in other.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    data = CalibrationData("9 texts", 9, (), lambda at: padded([items[i] for i in at]))
    found = output_meter(one, data, held_out=True, device="cpu")(other)

    kl, same, surprise = [], [], [[], []]  # type: ignore[var-annotated]
    for item in items:
        with torch.inference_mode():
            p, q = (log_softmax(net(torch.tensor([item])).logits[0].numpy()) for net in (one, other))
        kl += (np.exp(p) * (p - q)).sum(axis=1).tolist()
        same += (p.argmax(1) == q.argmax(1)).tolist()
        for number, logs in enumerate((p, q)):
            surprise[number] += [-logs[place, token] for place, token in enumerate(item[1:])]
    assert len(surprise[0]) == sum(map(len, items)) - 9
    assert (found.kind, found.samples, found.tokens) == ("tokens", 9, sum(map(len, items)))
    assert found.kl == pytest.approx(np.mean(kl), rel=1e-4)
    assert found.kl > 0.001
    assert found.agreement == pytest.approx(np.mean(same))
    assert found.original_perplexity == pytest.approx(np.exp(np.mean(surprise[0])), rel=1e-4)
    assert found.perplexity == pytest.approx(np.exp(np.mean(surprise[1])), rel=1e-4)
    assert found.perplexity != pytest.approx(found.original_perplexity, rel=1e-4)
    assert str(found).startswith("perplexity ")
    assert str(found).endswith(f" on {found.tokens} tokens of 9 texts")


def test_only_what_reads_from_left_to_right_predicts_the_next_token() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    bert, batch = transformers.BertConfig(vocab_size=VOCABULARY, **sizes), padded([[1, 2, 3, 4]])
    assert predicts_next(llama(0), batch)
    for name in ("BertForMaskedLM", "BertLMHeadModel", "BertModel"):
        model = getattr(transformers, name)(bert).eval()
        assert not predicts_next(model, batch), name
    assert not predicts_next(llama(0), padded([[1]]))


def test_a_single_number_is_no_class() -> None:
    assert kind_of(Table(torch.zeros(3, 2)), torch.zeros(3, 2)) == "classes"
    assert kind_of(Table(torch.zeros(3, 2)), torch.zeros(3, 1)) == "vectors"


# The record


def test_a_file_s_entry_is_read_as_it_was_written_to_six_digits() -> None:
    record = Fidelity("classes", "64 images", True, 64, agreement=1 / 3, kl=1.23456789e-5)
    entry = record.to_recipe()
    assert entry["agreement"] == 0.333333
    assert entry["kl"] == 1.23457e-5
    assert set(entry) == {"kind", "measured_on", "held_out", "samples", "agreement", "kl"}
    assert recorded_fidelity(entry) == Fidelity("classes", "64 images", True, 64, agreement=0.333333, kl=1.23457e-5)


@pytest.mark.parametrize("name", ["kind", "measured_on", "held_out", "samples", "tokens", *FIGURES])
@pytest.mark.parametrize("value", [[], {}, "x", True, 10**400], ids=["list", "object", "text", "truth", "huge"])
def test_a_malformed_entry_is_none(name: str, value: object) -> None:
    entry = Fidelity("classes", "64 images", True, 64, agreement=0.5, kl=0.1).to_recipe()
    if (name, value) in (("measured_on", "x"), ("held_out", True)):
        return
    assert recorded_fidelity({**entry, name: value}) is None
