"""Compares the outputs of two networks on the same inputs."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from momos_compress.data.batches import Inputs, attention_mask, batch_length, to_device
from momos_compress.networks.fidelity import Fidelity, Kind
from momos_compress.networks.forward import forward

SLICE_VALUES = 2**22
"""Scores whose distributions are compared at once: 16 MiB of each network's."""


def gives_classes(model: nn.Module) -> bool:
    """Whether the last dimension of a network's outputs holds scores of classes, or of a vocabulary's words."""
    if hasattr(model, "pretrained_cfg"):
        return int(getattr(model, "num_classes", 0)) > 1
    name = type(model).__name__  # transformers' heads: GPT2LMHeadModel, BertForMaskedLM
    return "LMHead" in name or "For" in name


def kind_of(model: nn.Module, out: torch.Tensor) -> Kind:
    """What a network's outputs are.

    Args:
        model: The network.
        out: Its outputs of a batch: scores (n, classes) or (n, t, classes), or anything else (n, ...).
    """
    if not gives_classes(model) or out.ndim not in (2, 3) or out.shape[-1] < 2:
        return "vectors"
    return "classes" if out.ndim == 2 else "tokens"


def predicts_next(model: nn.Module, inputs: Inputs) -> bool:
    """Whether a network is a language model that gives each next token's scores from the tokens before alone.

    Args:
        model: The network, which is run twice.
        inputs: One sample, on its device.
    """
    name = type(model).__name__
    if not ("LMHead" in name or "ForCausalLM" in name) or not isinstance(inputs, dict):
        return False
    tokens = inputs.get("input_ids")
    if tokens is None or tokens.shape[1] < 2 or "decoder_input_ids" in inputs:
        return False
    # BERT's class of that name reads both ways by default: its scores would tell of the tokens they are to predict.
    other = tokens.clone()
    other[:, -1] = torch.where(tokens[:, -1] == 0, 1, 0)
    with torch.inference_mode():
        one, two = (forward(model, {**inputs, "input_ids": ids})[:, :-1].float() for ids in (tokens, other))
    # A token that is masked has a weight of exactly zero: only the order of sums may differ.
    return torch.allclose(one, two, rtol=0, atol=1e-5 * float(one.abs().max()))


@dataclass
class _Sums:
    """Sums over the samples or tokens seen; of ``kl`` and ``surprise`` in nats."""

    places: int = 0
    alike: float = 0.0
    kl: float = 0.0
    predicted: int = 0
    surprise: list[float] = field(default_factory=lambda: [0.0, 0.0])

    def add_vectors(self, one: torch.Tensor, other: torch.Tensor) -> None:
        """Take vectors in, (m, c) of each network."""
        self.places += len(one)
        cosine = functional.cosine_similarity(one, other, dim=1).double()
        # Two vectors of zeros are alike, and one that is no number is like nothing.
        cosine[(one == other).all(dim=1)] = 1.0
        self.alike += float(cosine.nan_to_num(nan=0.0).sum())

    def add_scores(self, one: torch.Tensor, other: torch.Tensor, following: torch.Tensor | None) -> None:
        """Take scores in, (m, classes) of each network, and the class that follows each, (m,), -1 where none does."""
        self.places += len(one)
        same = (one.argmax(dim=1) == other.argmax(dim=1)) & ~other.isnan().any(dim=1)
        self.alike += float(same.sum())
        p, q = functional.log_softmax(one, dim=1), functional.log_softmax(other, dim=1)
        # A class that the original rules out counts nothing, whatever the other says of it.
        terms = torch.where(p > -math.inf, p.exp() * (p - q), torch.zeros_like(p))
        self.kl += float(terms.sum(dim=1, dtype=torch.float64).sum())
        if following is None:
            return
        known = following >= 0
        self.predicted += int(known.sum())
        for number, logs in enumerate((p, q)):
            self.surprise[number] -= float(logs[known, following[known]].sum(dtype=torch.float64))


def compare_outputs(
    original: nn.Module,
    compressed: nn.Module,
    batches: Iterable[Inputs],
    *,
    kind: Kind,
    next_tokens: bool,
    measured_on: str,
    held_out: bool | None,
    device: str,
) -> Fidelity:
    """Compare two networks on the same inputs; one batch's outputs are held at a time.

    Args:
        original: The network compared with, on ``device``.
        compressed: The network that is compared; it is put in eval mode and onto ``device``.
        batches: Inputs of both.
        kind: What their outputs are.
        next_tokens: Whether scores are of the token that follows, so that the inputs themselves are what is predicted.
        measured_on: The inputs, in words.
        held_out: Whether the calibration did not see them; None where that is not known.
        device: Where both run.

    Returns:
        The figures that are defined for this kind of outputs.
    """
    sums, samples = _Sums(), 0
    compressed = compressed.eval().to(device)
    with torch.inference_mode():
        for batch in batches:
            inputs = to_device(batch, device)
            one, other = forward(original, inputs), forward(compressed, inputs)
            samples += batch_length(batch)
            following = _following(inputs) if next_tokens else None
            for rows in _slices(one, attention_mask(inputs), kind):
                before, after = (_rows(out, kind)[rows].float() for out in (one, other))
                if kind == "vectors":
                    sums.add_vectors(before, after)
                else:
                    sums.add_scores(before, after, None if following is None else following.reshape(-1)[rows])
    share, scores = sums.alike / sums.places, kind != "vectors"
    perplexities = [_perplexity(surprise, sums.predicted) for surprise in sums.surprise]
    return Fidelity(
        kind,
        measured_on,
        held_out,
        samples,
        tokens=sums.places if one.ndim == 3 else None,
        agreement=share if scores else None,
        kl=max(0.0, sums.kl / sums.places) if scores and math.isfinite(sums.kl) else None,
        mean_cosine=None if scores else share,
        perplexity=perplexities[1],
        original_perplexity=perplexities[0],
    )


def _rows(out: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Outputs as a matrix with a row for each sample or token."""
    tokens = kind == "tokens" or (kind == "vectors" and out.ndim == 3)
    return out.reshape(-1, out.shape[-1]) if tokens else out.reshape(len(out), -1)


def _slices(out: torch.Tensor, mask: torch.Tensor | None, kind: Kind) -> Iterator[torch.Tensor]:
    """Rows of the outputs that count, those of real tokens, as many at once as ``SLICE_VALUES`` allow."""
    rows = _rows(out, kind)
    real = torch.arange(len(rows), device=out.device)
    if mask is not None and out.ndim == 3 and mask.shape == out.shape[:2]:
        real = mask.reshape(-1).to(out.device).nonzero()[:, 0]
    size = max(1, SLICE_VALUES // rows.shape[1])
    yield from (real[start : start + size] for start in range(0, len(real), size))


def _following(inputs: Inputs) -> torch.Tensor:
    """The token after each, (n, t); -1 where there is none, or one of the two only fills the batch up."""
    assert isinstance(inputs, dict)
    tokens, mask = inputs["input_ids"], attention_mask(inputs)
    following = torch.full_like(tokens, -1)
    following[:, :-1] = tokens[:, 1:]
    if mask is not None:
        real = mask.bool()
        following[:, :-1][~(real[:, 1:] & real[:, :-1])] = -1
    return following


def _perplexity(surprise: float, predicted: int) -> float | None:
    """The perplexity of so many tokens; None where there are none, or it is beyond a float."""
    mean = surprise / predicted if predicted else math.inf
    return math.exp(mean) if mean < 700 else None  # false for NaN too
