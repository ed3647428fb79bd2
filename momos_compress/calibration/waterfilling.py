"""Scales of rows and columns in which an error of one costs the same in every value (reverse water-filling).

At high rates the least error for given bits has the same cost in every value, whatever its variance: so steps, not
levels, follow the importance of a row and the inputs of a column. A column's cost is what later columns cannot make
good: the squared inverse of the diagonal of the factor by which errors move on (WaterSIC, arXiv 2603.04956).
"""

from dataclasses import dataclass

import torch

from momos_compress.calibration.greedy import feedback
from momos_compress.calibration.state import LayerState
from momos_compress.mosaic.scales import scale_values


@dataclass(frozen=True)
class RowsAndColumns:
    """Steps of one layer, up to a factor that all layers share.

    Attributes:
        rows: (groups, rows).
        columns: (columns,), with a geometric mean of 1; None where columns have no scales of their own.
        order: (columns,), in which columns are rounded: those of the strongest inputs first.
    """

    rows: torch.Tensor
    columns: torch.Tensor | None
    order: torch.Tensor


def steps_of(layer: LayerState, moments: torch.Tensor | None) -> RowsAndColumns:
    """Steps for a layer.

    Args:
        layer: Its row weights are those of the normalised weight.
        moments: Of its inputs, (groups, columns, columns), positive definite; None counts as the identity.
    """
    importance = layer.weights / scale_values(layer.scales).reshape(layer.weights.shape).square()
    width = layer.shape[2]
    if moments is None:
        return RowsAndColumns(importance.rsqrt(), None, torch.arange(width))
    order = moments.diagonal(dim1=1, dim2=2).mean(dim=0).argsort(descending=True)
    upper = feedback(moments[:, order][:, :, order])
    logs = -2 * upper.diagonal(dim1=1, dim2=2).log()
    mean = logs.mean(dim=1, keepdim=True)
    columns = None
    if len(moments) == 1:
        # Groups' columns differ, and a scale for each would cost as much as the values of a depthwise layer.
        columns = torch.empty(width)
        columns[order.cpu()] = torch.exp(-(logs - mean)[0] / 2).cpu()
    return RowsAndColumns((importance.log() + mean.cpu()).div(-2).exp(), columns, order)
