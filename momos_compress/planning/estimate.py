"""What a run will take, from a trial search on this machine: sizes, time and memory, without clustering."""

import time
from dataclasses import dataclass

import numpy as np

from momos_compress.coding.packed import index_bits, packed_bytes
from momos_compress.common.stages import peak_memory_bytes
from momos_compress.fitting.faiss_library import clustering_device
from momos_compress.fitting.methods import METHODS
from momos_compress.fitting.nearest import NearestMotif
from momos_compress.mosaic.codebook import CODEBOOK_DTYPES
from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint

HEADER_BYTES_PER_TENSOR = {"paper": 150, "default": 12}
"""Beside 1,000 bytes for the file; a bundle's table is deflated."""
CALIBRATED_PASSES = 24
"""Searches of all blocks in a calibrated fit; running the network comes on top and is not foreseen."""
TYPICAL_ITERATIONS = 5
"""k-means from ``seed_motifs`` ended after 3 to 7 iterations on every checkpoint measured."""


@dataclass(frozen=True)
class Estimate:
    """Rough figures; the time is for fitting and assigning, without the calibration's runs of the network."""

    file_bytes: int
    ratio: float
    bits_per_weight: float
    seconds: float
    peak_memory_bytes: int


def bytes_beside(checkpoint: Checkpoint, work: Plan) -> int:
    """About what a file holds beside motifs and mosaic: tensors passed through, and the header."""
    rest = sum(
        info.values * (2 if work.settings.passthrough == "auto" and info.dtype.itemsize == 4 else info.dtype.itemsize)
        for info in checkpoint.tensors.infos
        if info.name in work.selection.left_out
    )
    header = HEADER_BYTES_PER_TENSOR[work.settings.protocol] * len(checkpoint.tensors.infos)
    return rest + 1000 + header


def estimate(checkpoint: Checkpoint, work: Plan) -> Estimate:
    """Sizes follow from the plan; the time is extrapolated from the search of a few random blocks."""
    settings, s = work.settings, work.settings.s
    codebook = work.k * s * CODEBOOK_DTYPES[settings.codebook_dtype or "int8"].itemsize
    indices = packed_bytes(work.blocks, index_bits(work.k))
    file_bytes = codebook + indices + bytes_beside(checkpoint, work)
    rng = np.random.default_rng(settings.seed)
    motifs = rng.standard_normal((min(work.k, 2**18), s), dtype=np.float32)
    trial = rng.standard_normal((4096, s), dtype=np.float32)
    ties = "lowest" if settings.protocol == "paper" else "any"
    search = NearestMotif(motifs, ties=ties, device=clustering_device(settings.device))  # type: ignore[arg-type]
    search(trial[:64])
    start = time.perf_counter()
    search(trial)
    per_block = (time.perf_counter() - start) / len(trial) * work.k / len(motifs)
    method = METHODS[str(settings.method)]
    searches = work.blocks + (0 if method.draws else work.sampled_blocks * (TYPICAL_ITERATIONS + 1))
    if method.reads_network:
        searches += work.blocks * CALIBRATED_PASSES
    largest = max(info.nbytes for info in checkpoint.tensors.infos)
    memory = peak_memory_bytes() + 6 * work.sampled_blocks * s * 4 + 8 * work.k * s * 4 + 2 * largest + 2**28
    return Estimate(
        file_bytes,
        checkpoint.source_bytes / file_bytes,
        8 * file_bytes / work.parameters,
        per_block * searches,
        memory,
    )
