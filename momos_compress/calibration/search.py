"""The search for the motif that costs a block least: squared distance plus the price of the motif's bits."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from momos_compress.calibration.kernels import passes
from momos_compress.calibration.kernels.available import compiled
from momos_compress.calibration.kernels.tree import MotifTree, motif_tree
from momos_compress.fitting.faiss_library import load_faiss

CHUNK = 2**23
"""Costs of (block, motif) pairs that are held at a time: 32 MiB."""
ALL_MOTIFS = 8192
"""Largest codebook of which every motif is looked at in every pass."""
CANDIDATES = 256
"""Motifs looked at for a block where the codebook is larger: those nearest to the one it has.

What that loses is measured in reports/rate_accuracy.md.
"""
DIRECT_UP_TO = 2
"""Values of a block up to which distances are not taken from products: motifs lie close, and float32 cancels badly."""


@dataclass(frozen=True)
class Rate:
    """Bits that naming a motif costs: those of its index, and its share of the codebook's.

    Attributes:
        bits: (k,) float32, for each motif.
        motif_bits: What one motif takes in the codebook.
    """

    bits: torch.Tensor
    motif_bits: float

    @classmethod
    def uniform(cls, k: int, motif_bits: float) -> "Rate":
        """The rate before any block is counted: all motifs cost the same."""
        return cls(torch.full((k,), math.log2(max(k, 2))), motif_bits)

    def counted(self, usage: torch.Tensor) -> "Rate":
        """The rate of a mosaic, as in entropy-constrained vector quantisation.

        Args:
            usage: (k,) blocks of each motif. Each counts as half a block more, so that no motif costs infinitely much.
        """
        usage = usage.double()
        share = (usage + 0.5) / (usage.sum() + 0.5 * len(usage))
        bits = (-share.log2() + self.motif_bits / usage.clamp(min=1)).float()
        return Rate(bits, self.motif_bits)


@dataclass(frozen=True)
class MotifSearch:
    """Finds cheapest motifs of one codebook at one rate.

    Attributes:
        codebook: (k, s), on the device that searches.
        bits: (k,), on the same device.
        neighbours: (k, c) motifs near each motif, its own number among them; None where all motifs are looked at.
    """

    codebook: torch.Tensor
    bits: torch.Tensor
    neighbours: torch.Tensor | None = None

    @cached_property
    def tree(self) -> MotifTree:
        """The codebook as compiled loops search it."""
        return motif_tree(self.codebook, self.bits)

    def independent(self, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The cheapest motif of each block by itself, in the plain metric.

        Args:
            targets: (groups, rows, columns), whole blocks.
            weight: (groups, rows), what a bit costs there in squared distance.

        Returns:
            (groups, rows, blocks) int32 on the CPU.
        """
        if compiled(targets):
            return passes.independent(self.tree, targets, weight)
        s = self.codebook.shape[1]
        blocks = targets.shape[2] // s
        spread = weight[:, :, None].expand(-1, -1, blocks).reshape(1, -1)
        found = cheapest(targets.reshape(1, -1, s), self.codebook[None], self.bits, spread)
        return found.reshape(*targets.shape[:2], blocks).int().cpu()

    def in_metric(
        self,
        points: torch.Tensor,
        metric: torch.Tensor,
        weight: torch.Tensor,
        current: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The cheapest motif of each point where distances are measured after a linear map.

        Args:
            points: (groups, n, s), mapped already.
            metric: (groups, s, s), the map of each group, which is applied to the motifs here.
            weight: (groups, n), what a bit costs there in squared distance.
            current: (groups, n) motifs whose neighbours alone are looked at, where there are neighbours.

        Returns:
            (groups, n) int64.
        """
        found = []
        step = max(1, CHUNK // self.codebook.numel())
        for g in range(0, len(points), step):
            part = slice(g, g + step)
            motifs = self.codebook @ metric[part]
            if current is None or self.neighbours is None:
                found.append(cheapest(points[part], motifs, self.bits, weight[part]))
            else:
                near = self.neighbours
                found.append(cheapest_near(points[part], motifs, self.bits, weight[part], current[part], near))
        return torch.cat(found)


def cheapest(points: torch.Tensor, motifs: torch.Tensor, price: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Argmin over m of |p - m|^2 + weight_p price_m up to float32's rounding; the first of equal ones.

    Args:
        points: (groups, n, s).
        motifs: (groups, k, s).
        price: (k,).
        weight: (groups, n).

    Returns:
        (groups, n) int64.
    """
    groups, n, _ = points.shape
    out = torch.empty(groups, n, dtype=torch.int64, device=points.device)
    rows = max(1, CHUNK // motifs.shape[1])
    some = max(1, rows // n)
    for g in range(0, groups, some):
        part = motifs[g : g + some]
        for start in range(0, n, rows):
            at = (slice(g, g + some), slice(start, start + rows))
            out[at] = _pair_costs(points[at], part, price, weight[at]).argmin(dim=2)
    return out


def _pair_costs(points: torch.Tensor, motifs: torch.Tensor, price: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(groups, n, k) of these points and motifs, less what is the same for all motifs."""
    if points.shape[2] <= DIRECT_UP_TO:
        cost = weight[:, :, None] * price
        for d in range(points.shape[2]):
            cost += (points[:, :, d, None] - motifs[:, None, :, d]).square()
        return cost
    # |p|^2 is the same for all motifs; the rest is one product: (p, 1, weight) with (-2 m, |m|^2, price).
    left = torch.cat([points, torch.ones_like(weight)[:, :, None], weight[:, :, None]], dim=2)
    norms = motifs.square().sum(dim=2, keepdim=True)
    right = torch.cat([-2 * motifs, norms, price[None, :, None].expand(len(motifs), -1, 1)], dim=2)
    return torch.bmm(left, right.transpose(1, 2))


def cheapest_near(
    points: torch.Tensor,
    motifs: torch.Tensor,
    price: torch.Tensor,
    weight: torch.Tensor,
    current: torch.Tensor,
    neighbours: torch.Tensor,
) -> torch.Tensor:
    """Argmin of |p - m|^2 + weight_p price_m over the neighbours m of each point's motif; the first of equal ones.

    Args:
        points: (groups, n, s).
        motifs: (groups, k, s).
        price: (k,).
        weight: (groups, n).
        current: (groups, n) int64, the motif that each point has.
        neighbours: (k, c) int64.

    Returns:
        (groups, n) int64.
    """
    out = torch.empty_like(current)
    rows = max(1, CHUNK // (neighbours.shape[1] * points.shape[2]))
    for g in range(len(points)):
        for start in range(0, points.shape[1], rows):
            at = slice(start, start + rows)
            among = neighbours[current[g, at]]
            gap = (motifs[g][among] - points[g, at, None]).square().sum(dim=2)
            cost = gap + weight[g, at, None] * price[among]
            out[g, at] = among.where(cost == cost.amin(dim=1, keepdim=True), len(neighbours)).amin(dim=1)
    return out


def neighbours_of(codebook: torch.Tensor) -> torch.Tensor | None:
    """The ``CANDIDATES`` motifs nearest to each motif, itself among them: (k, c) int64 on the codebook's device.

    None where the codebook (k, s) is small enough for every motif to be looked at.
    """
    if len(codebook) <= ALL_MOTIFS:
        return None
    book = codebook.cpu()
    faiss = load_faiss()
    if faiss is None:
        chunks = [torch.cdist(part, book).topk(CANDIDATES, largest=False).indices for part in torch.split(book, 256)]
        return torch.cat(chunks).to(codebook.device)
    index = faiss.IndexFlatL2(book.shape[1])
    index.add(book.numpy())
    return torch.from_numpy(index.search(book.numpy(), CANDIDATES)[1]).to(codebook.device)
