"""Sums of products of the vectors that are drawn of a network, layer by layer."""

import torch

from momos_compress.calibration.sampling import Sampling
from momos_compress.calibration.store import MatrixStore

CENTRED = 0.9
"""Share of the inputs' mean that is taken off where a repair makes good what it does: no repair is exact."""
HELD_VALUES = 2**24
"""Values of vectors that wait for their product, over all layers: 64 MiB."""
BAND = 256
"""Columns of a symmetric matrix that are computed together, on and above its diagonal."""


class Products:
    """Sums over places of left^T right, and of both sides' means where these are taken off.

    Vectors wait until they are many, so that a product is worth its matrix's way to the temporary file and back.

    Attributes:
        vectors: Vectors of each layer, of a group.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._centred = sampling.centred
        self._sums = MatrixStore(sampling.directory)
        self._held: dict[str, list[tuple[torch.Tensor, torch.Tensor | None]]] = {}
        self._values: dict[str, int] = {}
        self._left: dict[str, torch.Tensor] = {}
        self._right: dict[str, torch.Tensor] = {}
        self._places: dict[str, int] = {}
        self.vectors: dict[str, int] = {}

    def add(self, name: str, left: torch.Tensor, right: torch.Tensor | None, places: int) -> None:
        """Add vectors (groups, m, columns) of each side, which stand for so many places; no right is the left again."""
        if not left.shape[1]:
            return
        self.vectors[name] = self.vectors.get(name, 0) + left.shape[1]
        if name in self._centred:
            means = left.mean(dim=1) * places
            self._left[name] = self._left.get(name, 0) + means
            self._right[name] = self._right.get(name, 0) + (means if right is None else right.mean(dim=1) * places)
            self._places[name] = self._places.get(name, 0) + places
        # Products make copies: a network may change in place what a layer was called with.
        weight = (places / left.shape[1]) ** 0.5
        self._held.setdefault(name, []).append((left * weight, None if right is None else right * weight))
        self._values[name] = self._values.get(name, 0) + left.numel() * (1 if right is None else 2)
        if sum(self._values.values()) > HELD_VALUES:
            self._relieve()

    def traces(self, samples: int) -> dict[str, torch.Tensor]:
        """Sums of each matrix's diagonal (groups,) a sample, about zero."""
        self._multiply_all()
        return {name: self._sums[name].diagonal(dim1=1, dim2=2).sum(dim=1) / samples for name in self._sums.names()}

    def finish(self, samples: int) -> MatrixStore:
        """The matrices a sample, about the mean as far as ``CENTRED`` where they are centred."""
        self._multiply_all()
        for name in self._sums.names():
            if name in self._centred:
                means = self._left[name][:, :, None] * self._right[name][:, None, :]
                self._sums.add(name, -CENTRED * (means / max(self._places[name], 1)))
            self._sums[name] = self._sums[name] / samples
        return self._sums

    def _relieve(self) -> None:
        """Multiply the layers that have most vectors a column, until half of what may be held is left."""

        def vectors_a_column(name: str) -> float:
            groups, _, columns = self._held[name][0][0].shape
            return self._values[name] / (groups * columns**2)

        order = sorted(self._held, key=vectors_a_column)
        while sum(self._values.values()) > HELD_VALUES // 2:
            self._multiply(order.pop())

    def _multiply_all(self) -> None:
        for name in list(self._held):
            self._multiply(name)

    def _multiply(self, name: str) -> None:
        held = self._held.pop(name)
        del self._values[name]
        left = torch.cat([pair[0] for pair in held], dim=1)
        if held[0][1] is None:
            self._sums.add(name, gram(left))
        else:
            right = torch.cat([pair[1] for pair in held if pair[1] is not None], dim=1)
            self._sums.add(name, left.transpose(1, 2) @ right)


def gram(vectors: torch.Tensor) -> torch.Tensor:
    """The sum of x x^T over vectors (groups, m, columns): (groups, columns, columns), each half computed once."""
    columns = vectors.shape[2]
    if columns <= BAND:
        return vectors.transpose(1, 2) @ vectors
    out = vectors.new_empty(len(vectors), columns, columns)
    for start in range(0, columns, BAND):
        stop = min(start + BAND, columns)
        band = vectors[:, :, start:stop].transpose(1, 2) @ vectors[:, :, start:]
        out[:, start:stop, start:] = band
        out[:, stop:, start:stop] = band[:, :, stop - start :].transpose(1, 2)
    return out
