"""The size of a file by the number of its motifs, before any is fitted."""

import math
from dataclasses import dataclass

from momos_compress.mosaic.blocks import MAX_MOTIFS
from momos_compress.planning.estimate import bytes_beside
from momos_compress.planning.plan import Plan
from momos_compress.sources.checkpoint import Checkpoint

LEAST_SHARE, MOST_SHARE = 0.2, 2.0
"""Bounds of the share that a file shows: outside of them the estimate of its other parts is wrong."""


@dataclass(frozen=True)
class FileSizes:
    """What is known of files of one block size.

    Attributes:
        blocks: Blocks in the mosaic.
        motif_bytes: Bytes of a motif in the codebook.
        rest: Bytes beside motifs and mosaic.
    """

    blocks: int
    motif_bytes: float
    rest: int

    def file_bytes(self, k: int, share: float) -> float:
        """Estimate the size of a file with k motifs. share: bits that an index takes, over log2 k."""
        return self.rest + k * self.motif_bytes + share * self.blocks * math.log2(max(k, 2)) / 8

    def share(self, k: int, file_bytes: int) -> float:
        """Find the share that a file of k motifs shows."""
        bits = 8 * (file_bytes - self.rest - k * self.motif_bytes) / (self.blocks * math.log2(max(k, 2)))
        return min(MOST_SHARE, max(LEAST_SHARE, bits))

    @property
    def most_motifs(self) -> int:
        """The most motifs worth a try: more than half as many as blocks are no codebook."""
        return max(1, min(MAX_MOTIFS, self.blocks // 2))

    def motifs(self, file_bytes: float, share: float) -> int:
        """Find the greatest k whose file is no larger, 1 at least."""
        low, high = 1, self.most_motifs
        while low < high:
            middle = (low + high + 1) // 2
            if self.file_bytes(middle, share) <= file_bytes:
                low = middle
            else:
                high = middle - 1
        return low


def file_sizes(checkpoint: Checkpoint, work: Plan) -> FileSizes:
    """Gather what a plan tells of its files; a dtype of motifs that is measured is taken to be int8."""
    wide = work.settings.codebook_dtype not in (None, "int8")
    return FileSizes(work.blocks, work.settings.s * (2 if wide else 1), bytes_beside(checkpoint, work))
