"""What a run will take, from a trial search on this machine: sizes, time and memory, without clustering."""

import time
from dataclasses import dataclass

import numpy as np

from momos_compress.coding.packed import index_bits, packed_bytes
from momos_compress.common.stages import peak_memory_bytes
from momos_compress.fitting.faiss_library import clustering_device
from momos_compress.fitting.methods import METHODS
from momos_compress.fitting.nearest import NearestMotif, Ties
from momos_compress.mosaic.codebook import CODEBOOK_DTYPES
from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint

HEADER_BYTES = 1000
"""Bytes of a file's header without its tensors."""
HEADER_BYTES_PER_TENSOR = {"paper": 150, "default": 12}
"""Bytes of the header for one tensor; by default they lie in a bundle, whose table is deflated."""
TYPICAL_ITERATIONS = 5
"""Iterations of k-means from ``seed_motifs``, which ended after 3 to 7 on every checkpoint measured."""
TRIAL_BLOCKS = 4096
"""Random blocks whose search is timed."""
TRIAL_MOTIFS = 2**18
"""Most motifs that they are searched among; for more, the time is taken to grow with their number."""


@dataclass(frozen=True)
class CostEstimate:
    """Rough figures of a run.

    Attributes:
        file_bytes: Size of the file.
        ratio: Bytes of the source over those of the file.
        bits_per_weight: Bits of the file over all weights.
        seconds: Time for fitting and assigning; what calibration takes is in ``calibration.forecast``.
        peak_memory_bytes: Most resident memory.
    """

    file_bytes: int
    ratio: float
    bits_per_weight: float
    seconds: float
    peak_memory_bytes: int


def bytes_beside(checkpoint: Checkpoint, work: Plan) -> int:
    """Estimate the bytes of a file beside motifs and mosaic: tensors passed through, and the header."""
    rest = sum(
        info.values * (2 if work.settings.passthrough == "auto" and info.dtype.itemsize == 4 else info.dtype.itemsize)
        for info in checkpoint.tensors.infos
        if info.name in work.selection.left_out
    )
    header = HEADER_BYTES_PER_TENSOR[work.settings.protocol] * len(checkpoint.tensors.infos)
    return rest + HEADER_BYTES + header


def estimate(checkpoint: Checkpoint, work: Plan) -> CostEstimate:
    """Estimate sizes from a plan, and the time from the search of a few random blocks on this machine."""
    settings, s = work.settings, work.settings.s
    # A dtype that is measured turns out to be int8 as a rule.
    motif_dtype = CODEBOOK_DTYPES["int8" if settings.codebook_dtype is None else settings.codebook_dtype]
    indices = packed_bytes(work.blocks, index_bits(work.k))
    file_bytes = work.k * s * motif_dtype.itemsize + indices + bytes_beside(checkpoint, work)
    if settings.bits is not None:
        file_bytes = round(settings.bits * work.parameters / 8)
    method = METHODS[settings.method]
    searches = work.blocks + (0 if method.draws else work.sampled_blocks * (TYPICAL_ITERATIONS + 1))
    if method.reads_network and settings.bits is None:
        searches = 0  # its trial tells what motifs and passes take; the coding of levels takes about a search
    largest = max(info.nbytes for info in checkpoint.tensors.infos)
    seconds = _seconds_per_block(work) * searches
    memory = peak_memory_bytes() + 6 * work.sampled_blocks * s * 4 + 8 * work.k * s * 4 + 2 * largest + 2**28
    return CostEstimate(
        file_bytes, checkpoint.source_bytes / file_bytes, 8 * file_bytes / work.parameters, seconds, memory
    )


def _seconds_per_block(work: Plan) -> float:
    """Time of finding the nearest motif of one block, in a trial search."""
    settings = work.settings
    rng = np.random.default_rng(settings.seed)
    motifs = rng.standard_normal((min(work.k, TRIAL_MOTIFS), settings.s), dtype=np.float32)
    blocks = rng.standard_normal((TRIAL_BLOCKS, settings.s), dtype=np.float32)
    ties: Ties = "lowest" if settings.protocol == "paper" else "any"
    search = NearestMotif(motifs, ties=ties, device=clustering_device(settings.device))
    search(blocks[:64])
    start = time.perf_counter()
    search(blocks)
    return (time.perf_counter() - start) / len(blocks) * work.k / len(motifs)
