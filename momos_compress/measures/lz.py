"""Lempel-Ziv complexity of the sign bits (Lempel and Ziv 1976), the estimate most often set beside BDM.

c(x) is the number of phrases of the exhaustive history of a string x of n bits: each phrase is the shortest piece that
does not occur earlier, overlaps allowed (Kaspar and Schuster 1987). c(x) log2(n) estimates its complexity in bits; of
random bits it is a little more than n. Taken over windows of fixed length it is comparable between tensors, and all
windows are parsed side by side, one bit a step.
"""

import numpy as np

from momos_compress.measures.registry import Measure
from momos_compress.measures.tensor_view import TensorView

LZ_WINDOW = 1024
"""Bits of a window; a phrase of random bits is then some 9 bits long."""
_BATCH = 1024
"""Windows parsed side by side; their bit sets stay in the cache."""
_WORD = 64
_ONES = np.uint64(2**_WORD - 1)


def phrase_counts(windows: np.ndarray) -> np.ndarray:
    """LZ76 phrases of each string.

    Args:
        windows: (m, n) bool; n a multiple of 64.

    Returns:
        (m,) int64; a last phrase that is cut off by the end counts as one.
    """
    m, n = windows.shape
    packed = np.packbits(windows, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    ones = np.ascontiguousarray(packed.T)
    flips = np.where(windows.T, np.uint64(0), _ONES)
    # Bit e of ``ends`` says that the phrase so far occurs with its last bit at e. One more bit moves all of them on by
    # one place, and keeps those where that bit stands; when none is left the phrase is new, and ends.
    ends, scratch = np.zeros_like(ones), np.empty_like(ones)
    phrases, open_at_end = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=bool)
    for place in range(n):
        words = place // _WORD + 1
        here, free = ends[:words], scratch[:words]
        here &= np.bitwise_xor(ones[:words], flips[place], out=free)
        ended = np.bitwise_or.reduce(here, axis=0) == 0
        phrases += ended
        np.right_shift(here, np.uint64(_WORD - 1), out=free)
        here <<= np.uint64(1)
        here[1:] |= free[:-1]
        begin = np.where(ended, _ONES, np.uint64(0))  # the next phrase may begin at every place so far
        here[:-1] |= begin
        here[-1] |= begin & np.uint64(2 ** (place % _WORD + 1) - 1)
        open_at_end = ~ended
    return phrases + open_at_end


def _bits(view: TensorView) -> float | None:
    """Bits, summed over a tensor's whole windows; what is left of it is dropped."""
    count = view.weights.numel() // LZ_WINDOW
    if not count:
        return None
    rows = view.packed_signs[: count * LZ_WINDOW // 8].reshape(count, LZ_WINDOW // 8)
    phrases = sum(
        int(phrase_counts(np.unpackbits(rows[start : start + _BATCH], axis=1).view(bool)).sum())
        for start in range(0, count, _BATCH)
    )
    return phrases * float(np.log2(LZ_WINDOW))


LZ = Measure(
    label="LZ complexity of signs",
    axis_label="LZ sign",
    panel="LZ",
    count=_bits,
    figure=lambda bits: bits,
    complement_invariant=True,
)
"""LZ76 phrases times log2 of the window's length, over windows of 1,024 sign bits of each tensor, summed."""
