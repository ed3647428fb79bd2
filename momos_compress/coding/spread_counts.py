"""How often each motif is used in each class of blocks, to a quarter of an octave, as symbols that are mostly small."""

import numpy as np

MANTISSAS = np.array([16, 19, 23, 27], dtype=np.int64)
"""Counts of the lowest octave; about 16 times 2^(j / 4)."""
CODES = 73
"""Number of codes of a count: 0, and 18 octaves of four. 2^16 counts stay below 2^39, the bound of ``frequencies``."""
_POOLED = 8.0
"""Blocks that neighbouring motifs share one count for: fewer say less of a count than it takes to store it."""
_PRIOR = 4.0
"""Blocks of the neighbouring classes that count in a class: one with few blocks of its own is much like those."""


def counts_of(codes: np.ndarray) -> np.ndarray:
    """The counts that codes stand for: int64 of the same shape."""
    octaves, quarters = np.divmod(np.maximum(codes.astype(np.int64) - 1, 0), 4)
    counts: np.ndarray = np.where(codes > 0, MANTISSAS[quarters] << octaves, 0)
    return counts


def codes_for(blocks: np.ndarray) -> np.ndarray:
    """Codes of counts that make the streams and the table together short.

    Motifs that follow one another and are rare in a class share the mean of their counts, so their codes are alike.

    Args:
        blocks: Number of blocks of each class with each motif, (classes, k) int64.

    Returns:
        (classes, k) uint8 below ``CODES``; each class has a code that is not 0.
    """
    means = _pooled(blocks + _PRIOR * _prior(blocks))
    octaves = np.log2(means / means.max(axis=1, keepdims=True))
    codes: np.ndarray = np.clip(np.rint(CODES - 1 + 4 * octaves), 0, CODES - 1).astype(np.uint8)
    return codes


def symbols_of(codes: np.ndarray) -> np.ndarray:
    """Symbols of codes: how far each is from that of the motif before it, 0, -1, 1, -2, 2, ... as 0, 1, 2, 3, 4, ...

    Args:
        codes: (classes, k) uint8.

    Returns:
        (classes, k) int64 below ``CODES``. Before the first motif stands the highest code.
    """
    steps = np.diff(codes.astype(np.int64), axis=1, prepend=CODES - 1)
    steps = np.mod(steps + CODES // 2, CODES) - CODES // 2
    symbols: np.ndarray = np.where(steps < 0, -2 * steps - 1, 2 * steps)
    return symbols


def codes_from(symbols: np.ndarray) -> np.ndarray:
    """Undo ``symbols_of``."""
    numbers = symbols.astype(np.int64)
    steps = np.where(numbers % 2 == 1, -(numbers + 1) // 2, numbers // 2)
    codes: np.ndarray = ((CODES - 1 + np.cumsum(steps, axis=1)) % CODES).astype(np.uint8)
    return codes


def _prior(blocks: np.ndarray) -> np.ndarray:
    """Share of each motif among the blocks of the classes beside each class, and a little of all: (classes, k)."""
    beside = np.zeros(blocks.shape)
    beside[1:] += blocks[:-1]
    beside[:-1] += blocks[1:]
    beside /= np.maximum(beside.sum(axis=1, keepdims=True), 1)
    everywhere = blocks.sum(axis=0) + 1 / blocks.shape[1]
    mixed: np.ndarray = 0.9 * beside + 0.1 * everywhere / everywhere.sum()
    return mixed


def _pooled(counts: np.ndarray) -> np.ndarray:
    """Average the counts of a row, (classes, k) float64, over runs of rare motifs that add up to about ``_POOLED``."""
    begins = (np.cumsum(counts, axis=1) - counts) // _POOLED
    often = counts >= _POOLED
    new = np.ones(counts.shape, dtype=bool)
    new[:, 1:] = (begins[:, 1:] != begins[:, :-1]) | often[:, 1:] | often[:, :-1]
    runs = np.cumsum(new.reshape(-1)) - 1
    means = np.bincount(runs, weights=counts.reshape(-1)) / np.bincount(runs)
    pooled: np.ndarray = means[runs].reshape(counts.shape)
    return pooled
