"""Which dtype motifs are worth being stored in."""

import numpy as np

from momos_compress.mosaic.codebook import decode_codebook, quantise_codebook
from momos_compress.settings import CodebookDtype

EIGHT_BIT_LOSS = 0.02
"""int8 is the smallest dtype worth its bytes where rounding motifs adds at most this share to the error."""


_TRIED = 4096


def smallest_dtype(motifs: np.ndarray, blocks: np.ndarray) -> CodebookDtype:
    """int8 where it costs next to nothing on some of these blocks (n, s), else float16."""
    from momos_compress.fitting.nearest import NearestMotif

    some = blocks[:: max(1, len(blocks) // _TRIED)]
    if not len(some):
        return "float16"
    nearest = NearestMotif(motifs)(some)
    rounded = decode_codebook(*quantise_codebook(motifs, "int8")).numpy()
    before, after = (float(np.square(some - book[nearest]).sum()) for book in (motifs, rounded))
    return "int8" if after <= (1 + EIGHT_BIT_LOSS) * before else "float16"
