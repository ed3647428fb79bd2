"""What a fit improves: each layer's mosaic, and the codebook that all layers share."""

from dataclasses import dataclass, field

import torch

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
        targets: (groups, rows, columns), the normalised weight that the mosaic is to stand for.
        weights: (groups, rows), importance of a squared error of the normalised weight.
        correlated: Whether the layer's second moments are known; otherwise they count as the identity.
        indices: (groups, rows, blocks) int32, the mosaic; empty before the first pass.
    """

    name: str
    layout: Layout
    scales: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    correlated: bool
    indices: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int32))

    def decoded(self, codebook: torch.Tensor) -> torch.Tensor:
        """The normalised weight that the motifs give: (groups, rows, columns)."""
        return codebook[self.indices.long()].reshape(self.targets.shape)

    def weight(self, codebook: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The weight that the motifs give, in its own ``shape``, before it is cast to its dtype."""
        rows = self.decoded(codebook).reshape(len(self.scales), -1) * scale_values(self.scales)[:, None]
        return self.layout.join(rows.reshape(-1, codebook.shape[1]), shape)


@dataclass
class FitState:
    """All layers over one codebook.

    Attributes:
        layers: The layers in the mosaic.
        moments: Damped second moments (groups, columns, columns) of the correlated layers, by name.
        codebook: (k, s), on ``device``.
        rate: Bits of each motif, as last counted.
        rate_weight: lambda over the one at which a bit buys as much as by more motifs; 0 leaves distortion alone.
        zero_motif: Whether motif 0 is zero and stays so.
        device: Where layers are worked on, one at a time; they lie on the CPU.
        price: lambda, squared error that a bit is worth; set by the first pass.
    """

    layers: list[LayerState]
    moments: MatrixStore
    codebook: torch.Tensor
    rate: Rate
    rate_weight: float
    zero_motif: bool
    device: str
    price: float = 0.0

    @property
    def blocks(self) -> int:
        """Number of blocks over all layers."""
        return sum(layer.targets.numel() for layer in self.layers) // self.codebook.shape[1]

    def usage(self) -> torch.Tensor:
        """Blocks of each motif: (k,) int64."""
        usage = torch.zeros(len(self.codebook), dtype=torch.int64)
        for layer in self.layers:
            usage += torch.bincount(layer.indices.reshape(-1).long(), minlength=len(usage))
        return usage

    def bit_weight(self, layer: LayerState) -> torch.Tensor:
        """What a bit costs in each row, in squared error of the normalised weight: (groups, rows) on the device."""
        return self.price / layer.weights.to(self.device)

    def times_moments(self, layer: LayerState, error: torch.Tensor) -> torch.Tensor:
        """An error (groups, rows, columns) times the layer's second moments."""
        return error @ self.moments[layer.name].to(error) if layer.correlated else error

    def leave_out(self, name: str) -> None:
        """Go on without a layer."""
        self.layers = [layer for layer in self.layers if layer.name != name]
        self.rate = self.rate.counted(self.usage())


def normalised(weight: torch.Tensor, layout: Layout, scales: torch.Tensor, groups: int, s: int) -> torch.Tensor:
    """A weight over its rows' scales, padded with zeros to whole blocks.

    Args:
        weight: Of any shape that ``layout`` takes.
        layout: How the weight becomes a matrix of rows.
        scales: (all rows,) uint8 codes.
        groups: Equal parts of the rows, each with inputs of its own.
        s: Values of a block.

    Returns:
        (groups, rows of a group, padded columns) float32.
    """
    matrix = layout.matrix(weight.float()) / scale_values(scales)[:, None]
    padded = torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % s))
    return padded.reshape(groups, len(padded) // groups, -1)
