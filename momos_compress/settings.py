"""What a run may be asked for. Imports nothing heavy, so that the command line can show its defaults at once."""

from dataclasses import dataclass
from typing import Literal

Protocol = Literal["default", "paper"]
Passthrough = Literal["auto", "keep"]
Device = Literal["auto", "cpu", "cuda"]
CodebookDtype = Literal["float16", "bfloat16", "float32", "int8"]
Coding = str

SYNTHETIC, NO_CALIBRATION = "synthetic", "none"

DEFAULT_C = 0.01
"""Capacity where neither c nor k is given: motifs are 1 % of the blocks."""


@dataclass(frozen=True)
class Settings:
    """One run's choices; the one home of their defaults.

    c: capacity, motifs over blocks. k: the number of motifs itself, instead of c. codebook_dtype None: int8 where that
    costs next to nothing, else float16; float32 with the paper's protocol. coding None: ans; packed with the paper's
    protocol; classes: ans by classes of rows and columns, where that is smaller. calibrate: data without labels that
    the motifs are fitted to, "synthetic" or "none"; None: synthetic where the network has batch norms to make inputs
    from. samples None: 1,024, or what there is. method None: hessian with calibration, else faiss where it is
    installed. rate_weight: what a bit of the file counts beside output error; at 1, as much as more motifs would buy in
    theory. exceptions: with calibration, weights whose errors would cost more than their bytes are stored as they are,
    unless include names what to take.
    """

    c: float | None = None
    k: int | None = None
    s: int = 4
    method: str | None = None
    protocol: Protocol = "default"
    zero_motif: bool = True
    codebook_dtype: CodebookDtype | None = None
    passthrough: Passthrough = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    seed: int = 0
    device: Device = "auto"
    bdm: bool = True
    coding: Coding | None = None
    calibrate: str | None = None
    samples: int | None = None
    rate_weight: float = 3.0
    exceptions: bool = True
