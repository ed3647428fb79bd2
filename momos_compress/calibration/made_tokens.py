"""Token sequences for language models whose tokenizer is missing, drawn from the network itself."""

import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from momos_compress.calibration.wanted import STAGE, Wanted, batch_size, made_data
from momos_compress.data.batches import Inputs
from momos_compress.data.draws import CalibrationData, open_corpus
from momos_compress.data.texts import continues_texts
from momos_compress.errors import MomosError, one_line
from momos_compress.networks.forward import forward

SEQUENCES = 256
"""Sequences that are made where no number is asked for and the time allows."""
TOKENS = 128
"""Tokens of a sequence, fewer where the model takes fewer."""
DRAWN_TOGETHER = 32
"""Sequences that are drawn as one batch; one batch is drawn however long it takes."""
CERTAIN = 4
"""Tokens after the first that are the likeliest ones, before the others are drawn (LLM-QAT, arXiv 2305.17888)."""
ROUNDS = 3
"""Times that a masked language model draws half of the tokens anew."""


def corpus_texts(wanted: Wanted) -> CalibrationData:
    """Texts of the corpus that ships with the package, by the network's own tokenizer."""
    return open_corpus(
        wanted.model, samples=wanted.samples, seed=wanted.seed, source=wanted.source, held_out=wanted.held_out
    )


def reads_tokens(wanted: Wanted) -> bool:
    """Whether the network is a language model of transformers."""
    return getattr(wanted.model, "main_input_name", None) == "input_ids"


def is_decoder(wanted: Wanted) -> bool:
    """Whether the network continues what it reads: a causal language model without an encoder beside it."""
    return reads_tokens(wanted) and continues_texts(wanted.model)


def drawn_sequences(wanted: Wanted) -> CalibrationData:
    """Sequences that a decoder draws itself: a first token at random, a few likeliest ones, then by its probabilities.

    Raises:
        MomosError: The network cannot generate.
    """
    return _made(wanted, _generated, "sequences that the network drew itself")


def has_masked_head(wanted: Wanted) -> bool:
    """Whether the network is a masked language model of transformers, which says what stands in a place."""
    return reads_tokens(wanted) and "ForMaskedLM" in wanted.network


def redrawn_sequences(wanted: Wanted) -> CalibrationData:
    """Uniformly random tokens, half of which a masked language model draws anew a few times by its own scores."""
    return _made(wanted, _redrawn, "sequences that the network's masked head drew from random tokens")


def _made(wanted: Wanted, draw: Callable[[Wanted, int], torch.Tensor], kind: str) -> CalibrationData:
    """Sequences in batches until there are enough, or the time is over."""
    count = wanted.samples or SEQUENCES
    apart = min(wanted.held_out, max(1, count // 2))
    together = batch_size(count, apart, DRAWN_TOGETHER)
    start, rows = time.perf_counter(), 0
    batches: list[torch.Tensor] = []
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(wanted.seed)
        elapsed = left_out = 0.0
        while rows < count + apart:
            if wanted.trial and batches:  # as if others had been drawn, and taken as long
                batches.append(batches[0][: count + apart - rows])
                left_out += elapsed
            else:
                batches.append(draw(wanted, min(together, count + apart - rows)).cpu())
                elapsed = time.perf_counter() - start
            rows += len(batches[-1])
            wanted.tell(STAGE, len(batches[-1]), count + apart)
            if wanted.seconds is not None and elapsed + left_out > wanted.seconds:
                break
    tokens = torch.cat(batches).clone()
    data = made_data(tokens, apart * rows // (count + apart), kind, lambda some: _batch(wanted, some))
    return replace(data, left_out_seconds=left_out)


def _generated(wanted: Wanted, count: int) -> torch.Tensor:
    model: Any = wanted.model
    start, length = _uniform(wanted, count)[:, :1], _length(wanted)
    begin = getattr(_config(wanted), "bos_token_id", None)
    if isinstance(begin, int):
        start = torch.cat([torch.full_like(start, begin), start], dim=1)
    fixed: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": None, "use_cache": True}
    certain = max(1, min(CERTAIN, length - start.shape[1] - 1))
    try:
        start = model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=certain, do_sample=False, **fixed
        )
        rest = max(1, length - start.shape[1])
        found: torch.Tensor = model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=rest, do_sample=True, top_k=0, **fixed
        )
    except Exception as error:  # networks raise what they like
        raise MomosError(f"{wanted.network} cannot draw tokens ({one_line(error, 120)})") from error
    return found[:, :length]


def _uniform(wanted: Wanted, count: int) -> torch.Tensor:
    tokens = torch.randint(0, _vocabulary(wanted), (count, _length(wanted)))
    return tokens.to(wanted.device)


def _redrawn(wanted: Wanted, count: int) -> torch.Tensor:
    tokens = _uniform(wanted, count)
    for _ in range(ROUNDS):
        scores = forward(wanted.model, _batch(wanted, tokens)).float()
        drawn = scores.softmax(dim=-1).flatten(0, 1).multinomial(1).reshape(tokens.shape)
        tokens = torch.where(torch.rand(tokens.shape, device=tokens.device) < 0.5, drawn, tokens)
    return tokens


def _batch(wanted: Wanted, tokens: torch.Tensor) -> Inputs:
    """Tokens (n, t) as the network is called with them."""
    batch = {"input_ids": tokens}
    parameters = inspect.signature(wanted.model.forward).parameters
    if "attention_mask" in parameters:
        batch["attention_mask"] = torch.ones_like(tokens)
    if getattr(_config(wanted), "is_encoder_decoder", False):
        batch["decoder_input_ids"] = tokens
    return batch


def _config(wanted: Wanted) -> Any:
    return getattr(wanted.model, "config", None)


def _length(wanted: Wanted) -> int:
    positions = getattr(_config(wanted), "max_position_embeddings", None)
    return min(TOKENS, positions) if isinstance(positions, int) and positions > 0 else TOKENS


def _vocabulary(wanted: Wanted) -> int:
    embeddings: Any = getattr(wanted.model, "get_input_embeddings", lambda: None)()
    size = getattr(embeddings, "num_embeddings", None) or getattr(_config(wanted), "vocab_size", None)
    if not isinstance(size, int) or size < 1:
        raise MomosError(f"{wanted.network} does not say how many tokens it knows")
    return size
