"""Rows of a layer, a few at a time: what is computed of each row by itself needs no copy of the whole layer."""

from collections.abc import Iterator, Sequence

PIECE_VALUES = 2**22
"""Values that are worked on at a time: 16 MiB of float32."""


def row_pieces(shape: Sequence[int], every: int = 1) -> Iterator[slice]:
    """Slices of the rows of a layer (groups, rows, columns) that hold about ``PIECE_VALUES`` values each.

    Args:
        shape: Of the layer.
        every: Of so many rows one is taken.
    """
    groups, rows, width = shape
    step = max(1, PIECE_VALUES // max(groups * width, 1)) * every
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows), every)
