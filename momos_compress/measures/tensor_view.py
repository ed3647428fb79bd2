"""One tensor as the measures of a pass see it: what several of them need is made once."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from momos_compress.measures import bits
from momos_compress.measures.ctm import MATRIX_SIDE
from momos_compress.measures.planes import as_matrix
from momos_compress.measures.settings import MeasureSettings


class TensorView:
    """A tensor and the settings of the pass. What is kept of it takes some 0.3 bytes a weight.

    Attributes:
        weights: The tensor, of any shape, dtype and device.
        settings: What the pass was asked for.
    """

    def __init__(self, weights: torch.Tensor, settings: MeasureSettings) -> None:
        self.weights = weights.detach()
        self.settings = settings

    @cached_property
    def packed_signs(self) -> np.ndarray:
        """Sign bits in row-major order, 1 where w > 0: (ceil(n / 8),) uint8, first bit highest, filled with zeros."""
        parts = [np.packbits(part) for part in bits.sign_bits(self.weights)]
        return np.concatenate([np.empty(0, dtype=np.uint8), *parts])

    def sign_bits(self) -> Iterator[np.ndarray]:
        """The sign bits in pieces of bounded size: bool (m,)."""
        count, step = self.weights.numel(), bits.CHUNK // 8
        for start in range(0, len(self.packed_signs), step):
            part = self.packed_signs[start : start + step]
            yield np.unpackbits(part, count=min(8 * len(part), count - 8 * start)).view(bool)

    @cached_property
    def string_codes(self) -> np.ndarray:
        """The 12-bit blocks of the sign bits as numbers, first bit highest: (n // 12,) uint16."""
        return bits.packed_block_codes(self.packed_signs, self.weights.numel())

    @property
    def is_matrix(self) -> bool:
        """Whether the tensor, as (out, rest), has room for one 4 x 4 block."""
        return self.weights.dim() > 1 and min(as_matrix(self.weights).shape) >= MATRIX_SIDE
