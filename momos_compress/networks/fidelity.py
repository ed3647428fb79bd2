"""The record of how far a compressed network's outputs are from its original's, and its words."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["classes", "tokens", "vectors"]
"""What outputs are: scores of classes for each sample, scores for each token, or vectors without scores."""

FIDELITY = "fidelity"
"""Name of the record among the descriptive entries of a recipe."""

DIGITS = 6
"""Significant digits of a figure in a file."""


@dataclass(frozen=True)
class Fidelity:
    """How a compressed network's outputs differ from the original's on the same inputs; no labels are needed.

    A figure is None where it is not defined for the kind of outputs, or not finite.

    Attributes:
        kind: What the outputs are.
        measured_on: The inputs, in words: "64 held-out images of photos".
        held_out: Whether the calibration did not see them; None where that is not known.
        samples: Number of inputs.
        tokens: Tokens among them, without those that fill a batch up; None where outputs are not of tokens.
        agreement: Share of samples, or tokens, where both rank the same class first, 0 to 1.
        kl: KL divergence of the compressed network's distribution from the original's, in nats: the mean over samples,
            or tokens.
        mean_cosine: Mean cosine of the two vectors, over samples or tokens.
        perplexity: Perplexity of the compressed network, of each token given those before it; language models alone.
        original_perplexity: The original's on the same tokens.
    """

    kind: Kind
    measured_on: str
    held_out: bool | None
    samples: int
    tokens: int | None = None
    agreement: float | None = None
    kl: float | None = None
    mean_cosine: float | None = None
    perplexity: float | None = None
    original_perplexity: float | None = None

    @property
    def drop(self) -> float:
        """Points lost: 100 less the per cent of agreement, or 100 times the mean cosine."""
        kept = self.mean_cosine if self.kind == "vectors" else self.agreement
        return 100 * (1 - (kept or 0.0))

    @property
    def error(self) -> float:
        """What files of an equal drop are compared by: the KL divergence, or what a mean cosine lacks of 1."""
        if self.kind == "vectors":
            return self.drop / 100
        return math.inf if self.kl is None else self.kl

    @property
    def quantity(self) -> str:
        """What ``drop`` is a drop of, and on which inputs."""
        return f"{quantity_of(self.kind)} on {self.measured_on}"

    def to_json(self) -> dict[str, Any]:
        """Turn into a JSON-ready record with every field."""
        return dataclasses.asdict(self)

    def to_recipe(self) -> dict[str, Any]:
        """Turn into a file's entry: figures of ``DIGITS`` significant digits, without those that are None."""
        record = {name: value for name, value in self.to_json().items() if value is not None}
        return {name: float(f"{value:.{DIGITS}g}") if type(value) is float else value for name, value in record.items()}

    def figures(self) -> str:
        """The figures in words, as tables show them."""
        parts = []
        if self.original_perplexity is not None:
            after = "beyond a float" if self.perplexity is None else f"{self.perplexity:.5g}"
            parts.append(f"perplexity {after} (original {self.original_perplexity:.5g})")
        if self.agreement is not None:
            parts.append(f"agreement of top-1 {100 * self.agreement:.2f} %")
            parts.append("KL divergence not finite" if self.kl is None else f"KL divergence {self.kl:.4g} nats")
        if self.mean_cosine is not None:
            parts.append(f"mean cosine {self.mean_cosine:.5f}")
        return ", ".join(parts)

    def __str__(self) -> str:
        """The figures, and what they were measured on."""
        tokens = "" if self.tokens is None else f"{self.tokens:,} tokens of "
        return f"{self.figures()}, on {tokens}{self.measured_on}"


FIGURES = ("agreement", "kl", "mean_cosine", "perplexity", "original_perplexity")
"""The figures of a ``Fidelity``, under the names that they have in every table and record."""


def quantity_of(kind: Kind) -> str:
    """What a drop is a drop of, for outputs of a kind."""
    vectors = kind == "vectors"
    return "mean cosine with the original's outputs" if vectors else "agreement of top-1 with the original's"


def recorded_fidelity(record: object) -> Fidelity | None:
    """Read a file's entry; None where it has none, or one that is malformed, for data decode without it."""
    if not isinstance(record, Mapping) or record.get("kind") not in get_args(Kind):
        return None
    held_out, counts = record.get("held_out"), (record.get("samples"), record.get("tokens"))
    figures = {name: record.get(name) for name in FIGURES}
    sound = (
        isinstance(record.get("measured_on"), str)
        and (held_out is None or type(held_out) is bool)
        and type(counts[0]) is int
        and all(value is None or (type(value) is int and 0 < value < 2**63) for value in counts)
        and all(value is None or (type(value) in (int, float) and abs(value) < 1e300) for value in figures.values())
    )
    if not sound:
        return None
    return Fidelity(record["kind"], record["measured_on"], held_out, *counts, **figures)  # type: ignore[arg-type]
