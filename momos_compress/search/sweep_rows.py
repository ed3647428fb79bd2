"""The rows of a sweep, and the file that they are kept in."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from momos_compress.common.atomic import atomic_writer
from momos_compress.common.csv_text import csv_bytes
from momos_compress.errors import MomosError, one_line
from momos_compress.settings import Settings


class SweepPoint(NamedTuple):
    """What one run of a sweep asks for.

    Attributes:
        c: Capacity, motifs over blocks.
        s: Values in a block.
        rate_weight: What a bit of the file counts beside output error.
    """

    c: float
    s: int
    rate_weight: float

    def settings(self, base: Settings) -> Settings:
        """Ask for this point, all else as in ``base``."""
        return dataclasses.replace(base, c=self.c, k=None, s=self.s, rate_weight=self.rate_weight)


@dataclass(frozen=True)
class SweepRow:
    """What became of one point; of a failed one nothing is measured.

    Attributes:
        c: Capacity, motifs over blocks.
        s: Values in a block.
        rate_weight: What a bit of the file counts beside output error.
        status: "ok" or "failed".
        k: Motifs in the file.
        file_bytes: Size of the file.
        ratio: Bytes of the source over ``file_bytes``.
        bits_per_weight: Bits of the file over all weights.
        score: Points left of what ``measured`` names: accuracy, agreement or cosine.
        drop: Points lost of it.
        agreement: As in the file's ``Fidelity``, like the four that follow.
        kl: In nats.
        mean_cosine: Of outputs that are no scores.
        perplexity: Of the file's network.
        original_perplexity: Of the original.
        distortion: Squared error of the weights over their energy.
        seconds: Time of the run.
        measured: What ``score`` is, in words; empty where only weights are compared.
        measured_on: What outputs were compared on, in words; empty where no network was calibrated.
        run: Digest of model, data and all other settings.
        failure: Why it failed.
    """

    c: float
    s: int
    rate_weight: float
    status: str
    k: int | None = None
    file_bytes: int | None = None
    ratio: float | None = None
    bits_per_weight: float | None = None
    score: float | None = None
    drop: float | None = None
    agreement: float | None = None
    kl: float | None = None
    mean_cosine: float | None = None
    perplexity: float | None = None
    original_perplexity: float | None = None
    distortion: float | None = None
    seconds: float | None = None
    measured: str = ""
    measured_on: str = ""
    run: str = ""
    failure: str = ""

    @property
    def point(self) -> SweepPoint:
        """What was asked for."""
        return SweepPoint(self.c, self.s, self.rate_weight)


WHOLE = ("s", "k", "file_bytes")
"""Columns of whole numbers."""
WORDS = ("status", "measured", "measured_on", "run", "failure")
"""Columns of text."""


def write_rows(path: Path, rows: Sequence[SweepRow]) -> None:
    """Write all rows anew; the file is whole, or stays as it was."""
    with atomic_writer(path) as file:
        file.write(csv_bytes([dataclasses.asdict(row) for row in rows]))


def read_rows(path: Path) -> dict[SweepPoint, SweepRow]:
    """Read the rows of a sweep; none where there is no file.

    Raises:
        MomosError: if the file is none of a sweep's.
    """
    if not path.exists():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_parsed(record) for record in csv.DictReader(io.StringIO(file.read()))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MomosError(f"{path}: not the rows of a sweep ({one_line(error, 80)}); move it away") from error
    return {row.point: row for row in rows}


def _parsed(record: dict[str, Any]) -> SweepRow:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(SweepRow):
        text = record[field.name]
        if field.name in WORDS:
            values[field.name] = text
        else:
            values[field.name] = None if text == "" else (int if field.name in WHOLE else float)(text)
    if values["status"] not in ("ok", "failed") or None in (values["c"], values["s"], values["rate_weight"]):
        raise ValueError("a row without its settings")
    return SweepRow(**values)
