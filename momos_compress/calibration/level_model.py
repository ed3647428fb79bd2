"""What levels cost in bits: a distribution for each class of values, the class from a value's row and its column.

Weights of one output are alike in size, and so are those of one input; the product of a row's size and a column's
predicts a value's, and with it how many bits its level takes. The coding ``spread`` finds classes of its own; these
price bits while the mosaic is fitted.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from momos_compress.calibration.pieces import row_pieces

CLASSES = 40
"""Classes of values, each half an octave of their predicted size."""
LEAST_OCTAVE = -8
"""Binary logarithm of the predicted size of the first class."""
PRIOR = 32
"""Values that a geometric distribution of the class's own size counts as, beside those that are seen."""

LEAST_SHARE = 2.0**-24
"""Least probability of a level: what a stored one can be."""

Classes = tuple[torch.Tensor, torch.Tensor]
"""Of a layer's rows, (groups, rows) int32, and of its columns, (groups, columns) int32; they add up."""


@dataclass(frozen=True)
class LevelModel:
    """Bits of levels by class.

    Attributes:
        bits: (CLASSES, levels) float32, levels from the lowest.
        classes: Classes of the rows and columns of each layer, by its name.
    """

    bits: torch.Tensor
    classes: dict[str, Classes]

    def rounding(self, name: str, values: torch.Tensor, price: torch.Tensor) -> "Rounding":
        """How a layer is rounded to levels of these ``values`` where a bit costs ``price`` (groups, rows)."""
        return Rounding(values, self.bits, self.classes[name], price)

    def total(self, name: str, levels: torch.Tensor) -> float:
        """Bits of a layer's levels, (groups, rows, columns), numbered from the lowest."""
        seen = _counts(self.classes[name], levels, 0, self.bits.shape[1])
        return float(seen.double() @ self.bits.reshape(-1).double())


@dataclass(frozen=True)
class Rounding:
    """How the values of one layer are rounded.

    Attributes:
        values: (levels,) what each level stands for, ascending.
        bits: (CLASSES, levels) float32.
        classes: Of the layer's rows and columns.
        price: (groups, rows), what a bit costs in squared error.
    """

    values: torch.Tensor
    bits: torch.Tensor
    classes: Classes
    price: torch.Tensor

    def of_values(self) -> torch.Tensor:
        """The class of each value, (groups, rows, columns) int64."""
        return _classes_of_values(self.classes).long()

    def of_rows(self, part: slice) -> "Rounding":
        """Of some of the rows."""
        rows, columns = self.classes
        return dataclasses.replace(self, classes=(rows[:, part], columns), price=self.price[:, part])

    def in_order(self, order: torch.Tensor) -> "Rounding":
        """Of the columns in another order."""
        rows, columns = self.classes
        return dataclasses.replace(self, classes=(rows, columns[:, order]))


def level_model(layers: Iterable[tuple[str, torch.Tensor]], most: int) -> LevelModel:
    """The model of a mosaic of levels.

    Args:
        layers: Name and signed levels (groups, rows, columns), whole numbers in -most..most, of each layer.
        most: The largest level.
    """
    count = 2 * most + 1
    seen = torch.zeros(CLASSES * count, dtype=torch.int64)
    classes = {}
    for name, levels in layers:
        classes[name] = classes_of(levels)
        seen += _counts(classes[name], levels, most, count)
    counts = seen.reshape(CLASSES, count).double() + PRIOR * _geometric(most)
    return LevelModel((-(counts / counts.sum(dim=1, keepdim=True)).log2()).float(), classes)


def classes_of(levels: torch.Tensor) -> Classes:
    """Classes of a layer's rows and columns by the mean size of their levels (groups, rows, columns)."""
    means, sums = [], torch.zeros(levels.shape[0], levels.shape[2])
    for part in row_pieces(levels.shape):
        size = levels[:, part].abs().float()
        means.append(size.mean(dim=2))
        sums += size.sum(dim=1)
    rows = torch.cat(means, dim=1) + 0.01
    # A column's size against that of the rows that it runs through: the best product of rows and columns, nearly.
    columns = (sums + 0.1) / (rows.sum(dim=1, keepdim=True) + 0.1)
    halves = [2 * part.log2() for part in (rows, columns)]
    return (halves[0].round() - 2 * LEAST_OCTAVE).int(), halves[1].round().int()


def _classes_of_values(classes: Classes) -> torch.Tensor:
    """The class of each value, (groups, rows, columns) int32."""
    return (classes[0][:, :, None] + classes[1][:, None, :]).clamp(0, CLASSES - 1)


def _counts(classes: Classes, levels: torch.Tensor, lowest: int, count: int) -> torch.Tensor:
    """How often each of ``count`` levels is there in each class, (CLASSES * count,) int64.

    Args:
        classes: Of the layer's rows and columns.
        levels: (groups, rows, columns).
        lowest: What is added to a level to number it from 0.
        count: Levels.
    """
    seen = torch.zeros(CLASSES * count, dtype=torch.int64)
    for part in row_pieces(levels.shape):
        places = _classes_of_values((classes[0][:, part], classes[1])) * count + levels[:, part].int() + lowest
        seen += torch.bincount(places.reshape(-1), minlength=len(seen))
    return seen


def _geometric(most: int) -> torch.Tensor:
    """Two-sided geometric distributions of each class's size: (CLASSES, levels)."""
    size = torch.exp2(torch.arange(CLASSES) / 2 + LEAST_OCTAVE).double()[:, None]
    # A two-sided geometric distribution with ratio t has the mean size 2 t / (1 - t^2).
    ratio = ((1 + size.square()).sqrt() - 1) / size
    away = torch.arange(-most, most + 1).abs()
    shares = (ratio**away).clamp(min=LEAST_SHARE)
    return shares / shares.sum(dim=1, keepdim=True)
