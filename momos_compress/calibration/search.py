"""The search for the motif that costs a block least: squared distance plus the price of the motif's bits."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from momos_compress.fitting.faiss_library import load_faiss
from momos_compress.fitting.nearest import kdtree_search

CHUNK = 2**23
"""Costs of (block, motif) pairs that are held at a time: 32 MiB."""
ALL_MOTIFS = 8192
"""Largest codebook of which every motif is looked at in every pass."""
CANDIDATES = 256
"""Motifs looked at for a block where the codebook is larger: those nearest to the one it has.

What that loses is measured in reports/rate_accuracy.md.
"""
FAISS_FROM = 2048
"""Motifs from which FAISS finds the cheapest faster than torch does."""
TREE_UP_TO = 8
"""Values of a block up to which a kd-tree is the fastest where bits cost nothing.

Each column of blocks has a metric, and so a search, of its own over few blocks, unlike the one search over millions
that ``fitting.nearest.choose_search`` chooses for.
"""


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

    def independent(self, targets: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """The cheapest motif of each block by itself, in the plain metric.

        Args:
            targets: (groups, rows, columns), whole blocks.
            weight: (groups, rows), what a bit costs there in squared distance.

        Returns:
            (groups, rows, blocks) int32 on the CPU.
        """
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
    """Argmin over m of |p - m|^2 + weight_p price_m, exactly up to float32's rounding.

    Args:
        points: (groups, n, s).
        motifs: (groups, k, s).
        price: (k,).
        weight: (groups, n).

    Returns:
        (groups, n) int64.
    """
    groups, n, s = points.shape
    k = motifs.shape[1]
    on_cpu = points.device.type == "cpu"
    if k >= FAISS_FROM and s <= TREE_UP_TO and on_cpu and not bool(weight.any()):
        near = [kdtree_search(b.numpy())(a.numpy(), 1)[1][:, 0] for a, b in zip(points, motifs, strict=True)]
        return torch.from_numpy(np.stack(near))
    # |p|^2 is the same for all motifs; the rest is one product: (p, 1, weight) with (-2 m, |m|^2, price).
    left = torch.cat([points, torch.ones(groups, n, 1, device=points.device), weight[:, :, None]], dim=2)
    norms = motifs.square().sum(dim=2, keepdim=True)
    right = torch.cat([-2 * motifs, norms, price[None, :, None].expand(groups, k, 1)], dim=2)
    if k >= FAISS_FROM and on_cpu and (faiss := load_faiss()) is not None:
        found = []
        for a, b in zip(left, right, strict=True):
            index = faiss.IndexFlatIP(a.shape[1])
            index.add(np.ascontiguousarray(-b.numpy()))
            found.append(torch.from_numpy(index.search(np.ascontiguousarray(a.numpy()), 1)[1][:, 0]))
        return torch.stack(found)
    return _least_product(left, right)


def _least_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Argmin over the rows of ``right`` (groups, k, t) of their product with each row of ``left`` (groups, n, t)."""
    groups, n, _ = left.shape
    out = torch.empty(groups, n, dtype=torch.int64, device=left.device)
    rows = max(1, CHUNK // right.shape[1])
    some = max(1, rows // n)
    for g in range(0, groups, some):
        transposed = right[g : g + some].transpose(1, 2)
        for start in range(0, n, rows):
            cost = torch.bmm(left[g : g + some, start : start + rows], transposed)
            out[g : g + some, start : start + rows] = cost.argmin(dim=2)
    return out


def cheapest_near(
    points: torch.Tensor,
    motifs: torch.Tensor,
    price: torch.Tensor,
    weight: torch.Tensor,
    current: torch.Tensor,
    neighbours: torch.Tensor,
) -> torch.Tensor:
    """Argmin of |p - m|^2 + weight_p price_m over the neighbours m of the motif that each point has.

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
            best = (gap + weight[g, at, None] * price[among]).argmin(dim=1, keepdim=True)
            out[g, at] = among.gather(1, best)[:, 0]
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
