"""The smallest dtype that motifs lose little in."""

import numpy as np

from momos_compress.fitting.nearest import NearestMotif
from momos_compress.mosaic.codebook import decode_codebook, quantise_codebook
from momos_compress.settings import CodebookDtype

EIGHT_BIT_LOSS = 0.02
"""Share that rounding motifs to int8 may add to the error for int8 to be taken."""

_TRIED = 4096
"""Blocks that the error is measured on."""


def smallest_dtype(motifs: np.ndarray, blocks: np.ndarray) -> CodebookDtype:
    """Choose the dtype of motifs (k, s): int8 where it costs next to nothing on some of blocks (n, s), else float16."""
    some = blocks[:: max(1, len(blocks) // _TRIED)]
    if not len(some):
        return "float16"
    nearest = NearestMotif(motifs)(some)
    rounded = decode_codebook(*quantise_codebook(motifs, "int8")).numpy()
    before, after = (float(np.square(some - book[nearest]).sum()) for book in (motifs, rounded))
    return "int8" if after <= (1 + EIGHT_BIT_LOSS) * before else "float16"
