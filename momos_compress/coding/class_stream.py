"""Streams of indices with a model for each class of blocks; the blocks of the first class come first."""

from collections.abc import Sequence

import numpy as np

from momos_compress.coding.index_model import IndexModel, decode_stream, encode_stream


def encode_by_class(models: Sequence[IndexModel], classes: np.ndarray, indices: np.ndarray) -> bytes:
    """Code the indices of a parameter.

    Args:
        models: The model of each class.
        classes: The class of each block, (blocks,) uint8.
        indices: The motif of each block, (blocks,).

    Returns:
        Whole little-endian 32-bit words.
    """
    lengths = np.bincount(classes, minlength=len(models))
    pieces = np.split(indices[np.argsort(classes, kind="stable")], np.cumsum(lengths)[:-1])
    return encode_stream(list(zip(models, pieces, strict=True))[::-1], len(indices))


def decode_by_class(models: Sequence[IndexModel], classes: np.ndarray, data: bytes) -> np.ndarray:
    """Decode the indices of a parameter, (blocks,) int32, from what ``encode_by_class`` gives.

    Raises:
        FormatError: The stream is not exactly that of so many indices.
    """
    lengths = np.bincount(classes, minlength=len(models)).tolist()
    indices = np.empty(len(classes), dtype=np.int32)
    indices[np.argsort(classes, kind="stable")] = decode_stream(data, list(zip(models, lengths, strict=True)))
    return indices
