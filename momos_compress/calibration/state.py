"""What a fit improves: each layer's mosaic, and the codebook that all layers share."""

import math
from dataclasses import dataclass, field

import torch

from momos_compress.calibration.level_model import LevelModel
from momos_compress.calibration.pieces import row_pieces
from momos_compress.calibration.search import Rate
from momos_compress.calibration.store import MatrixStore
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import scale_values


@dataclass
class LayerState:
    """One weight while it is fitted, its columns padded to whole blocks.

    Attributes:
        name: The weight's name in the checkpoint.
        layout: How the weight becomes a matrix of rows.
        scales: (all rows,) uint8 codes of the rows' scales.
        shape: Groups, rows of a group and padded columns.
        weights: (groups, rows), importance of a squared error of the normalised weight.
        correlated: Whether the layer's second moments are known; otherwise they count as the identity.
        columns: (columns,) uint8 codes of the columns' scales; None where they have none.
        indices: (groups, rows, blocks), the mosaic, int32 or int16 for levels; empty before the first pass.
    """

    name: str
    layout: Layout
    scales: torch.Tensor
    shape: tuple[int, int, int]
    weights: torch.Tensor
    correlated: bool
    columns: torch.Tensor | None = None
    indices: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int32))

    def decoded(self, codebook: torch.Tensor, rows: slice = slice(None)) -> torch.Tensor:
        """The normalised weight that the motifs give, of all rows or some: (groups, rows, columns)."""
        indices = self.indices[:, rows].to(codebook.device, torch.int32)
        return codebook.index_select(0, indices.reshape(-1)).reshape(*indices.shape[:2], -1)

    def scaled(self, moments: torch.Tensor) -> torch.Tensor:
        """Moments (groups, columns, columns) of a layer's inputs, of those that the normalised weight sees."""
        if self.columns is None:
            return moments
        factors = scale_values(self.columns)
        return moments * factors * factors[:, None]

    def weight(self, codebook: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The weight that the motifs give, in its own ``shape``, before it is cast to its dtype."""
        normal = torch.empty(self.shape)
        for part in row_pieces(normal.shape):
            normal[:, part] = self.decoded(codebook, part)
        rows = normal.reshape(len(self.scales), -1)
        rows *= scale_values(self.scales)[:, None]
        if self.columns is not None:
            rows[:, : len(self.columns)] *= scale_values(self.columns)
        return self.layout.join(rows.reshape(-1, codebook.shape[1]), shape)


@dataclass
class LevelState:
    """What a fit of levels knows beside its layers.

    Attributes:
        model: Bits of levels, as last counted.
        orders: Columns of each layer in the order in which they are rounded, by name.
    """

    model: LevelModel
    orders: dict[str, torch.Tensor]


@dataclass
class FitState:
    """All layers over one codebook.

    Attributes:
        layers: The layers in the mosaic.
        targets: The normalised weight that each layer's mosaic is to stand for, of the layer's shape, by name.
        moments: Damped second moments (groups, columns, columns) of the correlated layers, by name.
        codebook: (k, s), on ``device``.
        rate: Bits of each motif, as last counted.
        rate_weight: lambda over the one at which a bit buys as much as by more motifs; 0 leaves distortion alone.
        zero_motif: Whether motif 0 is zero and stays so.
        levels: How values are rounded, where motifs are levels; None where they are blocks.
        device: Where layers are worked on, one at a time; they lie on the CPU.
        price: lambda, squared error that a bit is worth; set by the first pass.
    """

    layers: list[LayerState]
    targets: MatrixStore
    moments: MatrixStore
    codebook: torch.Tensor
    rate: Rate
    rate_weight: float
    zero_motif: bool
    device: str
    price: float = 0.0
    levels: LevelState | None = None

    @property
    def blocks(self) -> int:
        """Number of blocks over all layers."""
        return sum(math.prod(layer.shape) for layer in self.layers) // self.codebook.shape[1]

    def usage(self) -> torch.Tensor:
        """Blocks of each motif: (k,) int64."""
        usage = torch.zeros(len(self.codebook), dtype=torch.int64)
        for layer in self.layers:
            usage += torch.bincount(layer.indices.reshape(-1), minlength=len(usage))
        return usage

    def bit_weight(self, layer: LayerState) -> torch.Tensor:
        """What a bit costs in each row, in squared error of the normalised weight: (groups, rows) on the device."""
        return self.price / layer.weights.to(self.device)

    def bits_of(self, layer: LayerState) -> float:
        """Bits of a layer's mosaic, as they were last counted."""
        if self.levels is not None:
            return self.levels.model.total(layer.name, layer.indices)
        return float(self.rate.bits[layer.indices.long()].double().sum())

    def leave_out(self, name: str) -> None:
        """Go on without a layer."""
        self.layers = [layer for layer in self.layers if layer.name != name]
        self.rate = self.rate.counted(self.usage())


def normalised(
    weight: torch.Tensor,
    layout: Layout,
    scales: torch.Tensor,
    groups: int,
    s: int,
    columns: torch.Tensor | None = None,
) -> torch.Tensor:
    """A weight over its rows' and columns' scales, padded with zeros to whole blocks.

    Args:
        weight: Of any shape that ``layout`` takes.
        layout: How the weight becomes a matrix of rows.
        scales: (all rows,) uint8 codes.
        groups: Equal parts of the rows, each with inputs of its own.
        s: Values of a block.
        columns: (columns,) uint8 codes; None where columns have no scales.

    Returns:
        (groups, rows of a group, padded columns) float32.
    """
    matrix = layout.matrix(weight.float()) / scale_values(scales)[:, None]
    if columns is not None:
        matrix /= scale_values(columns)
    missing = -matrix.shape[1] % s
    padded = torch.nn.functional.pad(matrix, (0, missing)) if missing else matrix
    return padded.reshape(groups, len(padded) // groups, -1)
