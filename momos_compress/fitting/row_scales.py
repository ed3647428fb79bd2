"""Tensors cut by rows, each row divided by a scale of its own before motifs are fitted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.errors import MomosError
from momos_compress.mosaic.blocks import CHUNK_VALUES, FLAT, Layout, fills_rows, iter_blocks, row_layout
from momos_compress.mosaic.scales import encode_scales, scale_values
from momos_compress.sources.checkpoint import Checkpoint
from momos_compress.tensors.records import TensorInfo


@dataclass(frozen=True)
class RowScales:
    """How one tensor is cut by rows, and what each row is divided by.

    Attributes:
        layout: The cut.
        scales: Codes of the rows' scales, (rows,) uint8; None where rows are not scaled.
    """

    layout: Layout
    scales: torch.Tensor | None = None

    def factors(self, values: int, s: int, first: int, count: int) -> np.ndarray | None:
        """The scale of each of ``count`` blocks of s values from block ``first`` on, (count, 1); None where unscaled.

        Args:
            values: Number of values of the tensor.
            s: Block size.
            first: A block that begins a row.
            count: Number of blocks, of whole rows.
        """
        if self.scales is None:
            return None
        blocks = self.layout.row_blocks(values, s)
        part = scale_values(self.scales[first // blocks : (first + count) // blocks]).numpy()
        return np.repeat(part, blocks)[:, None]


def find_rows(checkpoint: Checkpoint, chosen: tuple[TensorInfo, ...], s: int) -> dict[str, RowScales]:
    """Scale the rows (first dimension) of each tensor that they fill whole blocks of well enough, by their RMS.

    Returns:
        By tensor name; a tensor that is better cut flat is not among them.
    """
    found = {}
    for info in chosen:
        layout = row_layout(info.shape)
        if not fills_rows(info, s):
            continue
        matrix = layout.matrix(checkpoint.read(info.name))
        step = max(1, CHUNK_VALUES // max(1, matrix.shape[1]))
        rms = torch.cat([part.float().square().mean(dim=1).sqrt() for part in torch.split(matrix, step)])
        found[info.name] = RowScales(layout, encode_scales(rms))
    return found


def layout_of(rows: Mapping[str, RowScales], info: TensorInfo) -> Layout:
    """How a tensor is cut: by rows where it is among ``rows``, else flat."""
    return rows[info.name].layout if info.name in rows else FLAT


def read_blocks(checkpoint: Checkpoint, info: TensorInfo, s: int, layout: Layout) -> Iterator[np.ndarray]:
    """Read a tensor's blocks in order, pieces (m, s) float32 of a bounded size.

    Raises:
        MomosError: A value is not finite; the message names the tensor, its shape and the place.
    """
    try:
        yield from iter_blocks(checkpoint.read(info.name), s, layout)
    except MomosError as error:
        raise MomosError(f"{info.name} {list(info.shape)}: {error}") from error
