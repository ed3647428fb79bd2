"""The fit to what layers compute: motifs and mosaic of least output error plus weighted rate.

The objective, over all layers, with x the normalised weight and q what stands for it:

    J = sum_o w_o (x_o - q_o) H (x_o - q_o)^T + lambda (bits of the mosaic + bits of the codebook)

w_o is the row's importance times its squared scale. The first mosaic comes from GPTQ's recursion (arXiv 2210.17323) on
blocks instead of single columns: what one block gets wrong, the blocks after it make good as far as they can. Then
mosaic and codebook are improved in turn: each block's motif with all others held fixed (coordinate descent on J), the
motifs by conjugate gradients on J, which is quadratic in them. The rate is entropy-constrained vector quantisation's
(Chou, Lookabaugh, Gray 1989).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from momos_compress.calibration.statistics import MatrixStore
from momos_compress.fitting.nearest import kdtree_search, load_faiss
from momos_compress.mosaic.blocks import Layout
from momos_compress.mosaic.scales import scale_values

DAMPING = 0.01
"""Times the mean of a layer's second moments, added to each: what was not seen in calibration is not free of cost."""
MAX_DAMPING = 1.0
CHUNK = 2**23
"""Costs of (block, motif) pairs held at a time: 32 MiB."""
CONJUGATE_STEPS = 8
CANDIDATES = 256
"""Motifs that a block may move to after the first pass, where there are more than ``ALL_MOTIFS``: those nearest to the
one it has. The loss is measured in reports/rate_accuracy.md."""
ALL_MOTIFS = 8192
FAISS_FROM = 2048
"""Motifs from which FAISS finds the cheapest faster than torch does."""
TREE_UP_TO = 8
"""Values of a block up to which a kd-tree is faster than either, where bits cost nothing. Each column of blocks has a
metric, and so a search, of its own over few blocks: ``choose_search`` is for one search over millions."""


@dataclass
class LayerFit:
    """One weight while it is fitted: ``rows`` in ``groups``, ``columns`` padded to whole blocks.

    targets: (groups, rows, columns) normalised weights. weights: (groups, rows), importance of a normalised error.
    indices: (groups, rows, blocks). correlated: whether second moments (groups, columns, columns) are in the store;
    otherwise they are the identity.
    """

    name: str
    layout: Layout
    scales: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    correlated: bool
    indices: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int32))

    def decoded(self, codebook: torch.Tensor) -> torch.Tensor:
        """(groups, rows, columns) normalised, as the motifs give it."""
        return codebook[self.indices.long()].reshape(self.targets.shape)

    def weight(self, codebook: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        """The weight as it will be decoded, before it is cast to its dtype."""
        rows = self.decoded(codebook).reshape(len(self.scales), -1) * scale_values(self.scales)[:, None]
        return self.layout.join(rows.reshape(-1, codebook.shape[1]), shape)


def normalised(weight: torch.Tensor, layout: Layout, scales: torch.Tensor, groups: int, s: int) -> torch.Tensor:
    """A weight over its rows' scales, zero-padded: (groups, rows of a group, columns)."""
    matrix = layout.matrix(weight.float()) / scale_values(scales)[:, None]
    padded = torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % s))
    return padded.reshape(groups, len(padded) // groups, -1)


def damped(moments: torch.Tensor, s: int) -> tuple[torch.Tensor, float]:
    """Second moments (groups, c, c), made safely positive definite and padded to whole blocks; and the damping used.

    Padding costs nothing: any value may stand there.
    """
    groups, width, _ = moments.shape
    mean = moments.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    padded = torch.zeros(groups, width + -width % s, width + -width % s, dtype=moments.dtype, device=moments.device)
    damping = DAMPING
    while True:
        padded.zero_()
        padded[:, :width, :width] = moments
        diagonal = padded.diagonal(dim1=1, dim2=2)
        diagonal[:, :width] += damping * mean[:, None]
        diagonal[:, width:] = 1e-4 * mean[:, None]
        _, info = torch.linalg.cholesky_ex(padded)
        if not bool(info.any()) or damping >= MAX_DAMPING:
            return padded, damping
        damping *= 10


def feedback(moments: torch.Tensor) -> torch.Tensor:
    """U (groups, c, c), upper triangular, with U^T U = H^-1: how an error moves on to the columns after it."""
    lower = torch.linalg.cholesky(moments.double())
    upper: torch.Tensor = torch.linalg.cholesky(torch.cholesky_inverse(lower), upper=True)
    return upper.float()


class Rate:
    """Bits that naming a motif costs: those of its index, and its share of the codebook."""

    def __init__(self, k: int, motif_bits: float) -> None:
        self.motif_bits = motif_bits
        self.bits = torch.full((k,), math.log2(max(k, 2)))

    def update(self, usage: torch.Tensor) -> None:
        """usage: (k,) blocks of each motif."""
        usage = usage.double()
        share = (usage + 0.5) / (usage.sum() + 0.5 * len(usage))
        self.bits = (-share.log2() + self.motif_bits / usage.clamp(min=1)).float()


def cheapest(points: torch.Tensor, motifs: torch.Tensor, price: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """argmin over m of |p - m|^2 + weight_p price_m, exactly up to float32's rounding.

    points: (groups, n, s). motifs: (groups, k, s). price: (k,). weight: (groups, n). Returns (groups, n) int64. The
    cost is a product of s + 2 terms each, |p|^2 being the same for all m: (p, 1, weight) with (-2 m, |m|^2, price).
    """
    groups, n, s = points.shape
    k = motifs.shape[1]
    if k >= FAISS_FROM and s <= TREE_UP_TO and points.device.type == "cpu" and not bool(weight.any()):
        near = [kdtree_search(b.numpy())(a.numpy(), 1)[1][:, 0] for a, b in zip(points, motifs, strict=True)]
        return torch.from_numpy(np.stack(near))
    left = torch.cat([points, torch.ones(groups, n, 1, device=points.device), weight[:, :, None]], dim=2)
    norms = motifs.square().sum(dim=2, keepdim=True)
    right = torch.cat([-2 * motifs, norms, price[None, :, None].expand(groups, k, 1)], dim=2)
    if k >= FAISS_FROM and points.device.type == "cpu" and (faiss := load_faiss()) is not None:
        found = []
        for a, b in zip(left, right, strict=True):
            index = faiss.IndexFlatIP(a.shape[1])
            index.add(np.ascontiguousarray(-b.numpy()))
            found.append(torch.from_numpy(index.search(np.ascontiguousarray(a.numpy()), 1)[1][:, 0]))
        return torch.stack(found)
    out = torch.empty(groups, n, dtype=torch.int64, device=points.device)
    rows = max(1, CHUNK // k)
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
    """As ``cheapest``, among the ``neighbours`` (k, c) of each block's ``current`` motif (groups, n) alone."""
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


class Fitter:
    """All layers over one codebook, from a first codebook to the final mosaic.

    moments: damped second moments of the correlated layers, by name. rate_weight: lambda over the one at which a bit
    is worth what it buys by more motifs (0: distortion alone). Tensors live on ``device`` a layer at a time.
    """

    def __init__(
        self,
        layers: Sequence[LayerFit],
        moments: MatrixStore,
        codebook: torch.Tensor,
        *,
        rate_weight: float,
        motif_bits: float,
        zero_motif: bool,
        device: str,
    ) -> None:
        self.layers, self.moments, self.codebook, self.device = list(layers), moments, codebook.to(device), device
        self.rate_weight, self.zero_motif = rate_weight, zero_motif
        self.rate, self.price = Rate(len(codebook), motif_bits), 0.0
        self._neighbours: torch.Tensor | None = None

    @property
    def blocks(self) -> int:
        """Number of blocks over all layers."""
        return sum(layer.targets.numel() for layer in self.layers) // self.codebook.shape[1]

    def first_pass(self, progress: Callable[[int], None]) -> None:
        """GPTQ on blocks; sets lambda from the distortion that it leaves."""
        for layer in self.layers:
            layer.indices = self._start(layer) if layer.correlated else self._alone(layer)
            progress(layer.indices.numel())
        # At high rates the distortion of k motifs falls as k^(-2/s), so a bit a block takes 2 ln 2 / s of it away.
        slope = 2 * math.log(2) / self.codebook.shape[1]
        self.price = self.rate_weight * slope * self._typical_distortion()
        self._count()

    def improve(self, progress: Callable[[int], None], *, codebook: bool = True) -> None:
        """One round: the motifs for this mosaic, then the mosaic for these motifs."""
        if codebook:
            self._drop_unused()
            self._solve_codebook()
        self._neighbours = self._near() if len(self.codebook) > ALL_MOTIFS else None
        for layer in self.layers:
            if layer.correlated:
                self._descend(layer)
            else:
                layer.indices = self._alone(layer)
            progress(layer.indices.numel())
        self._count()

    def distortion(self) -> float:
        """J without its rate."""
        return sum(float(self._row_costs(layer).double().sum()) for layer in self.layers)

    def dearer_than(self, bits: Mapping[str, int]) -> list[str]:
        """Layers of which J would fall if they were stored exactly in so many bits; at least one layer is not named."""
        gains = {}
        for layer in self.layers:
            own = float(self.rate.bits[layer.indices.long()].double().sum())
            error = float(self._row_costs(layer).double().sum())
            gains[layer.name] = error - self.price * (bits[layer.name] - own)
        dearer = sorted((name for name, gain in gains.items() if gain > 0), key=lambda name: -gains[name])
        return dearer[: len(self.layers) - 1] if self.price > 0 else []

    def leave_out(self, name: str) -> None:
        """Go on without a layer."""
        self.layers = [layer for layer in self.layers if layer.name != name]
        self._count()

    def _row_costs(self, layer: LayerFit) -> torch.Tensor:
        error = (layer.targets - layer.decoded(self.codebook.cpu())).to(self.device)
        return (self._times_moments(layer, error) * error).sum(dim=2) * layer.weights.to(self.device)

    def _typical_distortion(self) -> float:
        """Geometric mean over all blocks of their row's mean share of J.

        Where every bit buys as much as any other all blocks have the same share, and at the same rate in all it is this
        mean (reverse water-filling); the arithmetic one would be that of the few rows that matter most.
        """
        logs, count = 0.0, 0
        for layer in self.layers:
            cost = self._row_costs(layer).double() / (layer.targets.shape[2] // self.codebook.shape[1])
            real = cost[cost > 0]
            blocks = layer.targets.shape[2] // self.codebook.shape[1]
            logs, count = logs + float(real.log().sum()) * blocks, count + real.numel() * blocks
        return math.exp(logs / count) if count else 0.0

    def usage(self) -> torch.Tensor:
        """Blocks of each motif: (k,)."""
        usage = torch.zeros(len(self.codebook), dtype=torch.int64)
        for layer in self.layers:
            usage += torch.bincount(layer.indices.reshape(-1).long(), minlength=len(usage))
        return usage

    def bits(self) -> float:
        """Entropy of the mosaic."""
        share = self.usage().double()
        share = share[share > 0] / share.sum()
        return float(-(share * share.log2()).sum()) * self.blocks

    def _count(self) -> None:
        self.rate.update(self.usage())

    def _times_moments(self, layer: LayerFit, error: torch.Tensor) -> torch.Tensor:
        return error @ self.moments[layer.name].to(error) if layer.correlated else error

    def _penalty(self, layer: LayerFit) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rate.bits.to(self.device), self.price / layer.weights.to(self.device)

    def _alone(self, layer: LayerFit) -> torch.Tensor:
        s = self.codebook.shape[1]
        price, weight = self._penalty(layer)
        points = layer.targets.to(self.device).reshape(1, -1, s)
        blocks = layer.targets.shape[2] // s
        spread = weight[:, :, None].expand(-1, -1, blocks).reshape(1, -1)
        found = cheapest(points, self.codebook[None], price, spread)
        return found.reshape(*layer.targets.shape[:2], blocks).int().cpu()

    def _start(self, layer: LayerFit) -> torch.Tensor:
        """Of each row the better of two mosaics: with feedback of errors, and each block by itself.

        Feedback asks for values beyond all motifs where inputs depend on each other strongly, and then makes it worse.
        """
        costs, found = [], []
        for indices in (self._greedy(layer), self._alone(layer)):
            layer.indices = indices
            found.append(indices)
            costs.append(self._row_costs(layer).cpu())
        better: torch.Tensor = (costs[0] <= costs[1])[:, :, None]
        return torch.where(better, found[0], found[1])

    def _greedy(self, layer: LayerFit) -> torch.Tensor:
        s, book = self.codebook.shape[1], self.codebook
        moments = self.moments[layer.name].to(self.device)
        # Blocks of the strongest inputs first: what they get wrong costs most, and most others can make it good.
        power = moments.diagonal(dim1=1, dim2=2).mean(dim=0).reshape(-1, s).sum(dim=1)
        blocks = power.argsort(descending=True)
        columns = (blocks[:, None] * s + torch.arange(s, device=self.device)).reshape(-1)
        left = layer.targets.to(self.device)[:, :, columns]
        upper = feedback(moments[:, columns][:, :, columns])
        price, weight = self._penalty(layer)
        groups, rows, width = left.shape
        out = torch.empty(groups, rows, width // s, dtype=torch.int32)
        for j in range(width // s):
            at, rest = slice(j * s, j * s + s), slice(j * s + s, width)
            inverse = torch.linalg.inv(upper[:, at, at])
            found = self._cheapest(left[:, :, at] @ inverse, inverse, price, weight)
            error = left[:, :, at] - book[found]
            if j * s + s < width:
                left[:, :, rest] -= (error @ inverse) @ upper[:, at, rest]
            out[:, :, blocks[j]] = found.int().cpu()
        return out

    def _descend(self, layer: LayerFit) -> None:
        s, book = self.codebook.shape[1], self.codebook
        moments = self.moments[layer.name].to(self.device)
        targets, indices = layer.targets.to(self.device), layer.indices.to(self.device).long()
        groups, _, width = targets.shape
        count = width // s
        error = targets - book[indices].reshape(targets.shape)
        pull = error @ moments
        diagonal = torch.stack([moments[:, j * s : j * s + s, j * s : j * s + s] for j in range(count)], dim=1)
        lower = torch.linalg.cholesky(diagonal)
        inverse = torch.cholesky_inverse(lower)
        price, weight = self._penalty(layer)
        for j in range(count):
            at = slice(j * s, j * s + s)
            # With all other blocks held fixed the cost of this one is |t - c|^2 in the metric of its moments.
            best = (book[indices[:, :, j]] + pull[:, :, at] @ inverse[:, j]) @ lower[:, j]
            found = self._cheapest(best, lower[:, j], price, weight, indices[:, :, j])
            group, row = (found != indices[:, :, j]).nonzero(as_tuple=True)
            if len(row):
                change = book[indices[group, row, j]] - book[found[group, row]]
                if groups == 1:
                    pull[0].index_add_(0, row, change @ moments[0, at])
                else:
                    pull[group, row] += (change[:, None] @ moments[group, at])[:, 0]
                indices[:, :, j] = found
        layer.indices = indices.int().cpu()

    def _cheapest(
        self,
        points: torch.Tensor,
        metric: torch.Tensor,
        price: torch.Tensor,
        weight: torch.Tensor,
        current: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The cheapest motif for points (groups, n, s) in each group's metric (groups, s, s), which motifs are not yet.

        current: where there are neighbours, only those of these motifs are looked at.
        """
        found = []
        step = max(1, CHUNK // self.codebook.numel())
        for g in range(0, len(points), step):
            part = slice(g, g + step)
            motifs = self.codebook @ metric[part]
            if current is None or self._neighbours is None:
                found.append(cheapest(points[part], motifs, price, weight[part]))
            else:
                found.append(cheapest_near(points[part], motifs, price, weight[part], current[part], self._neighbours))
        return torch.cat(found)

    def _drop_unused(self) -> None:
        used = self.usage() > 0
        if self.zero_motif:
            used[0] = True
        if bool(used.all()):
            return
        new = torch.cumsum(used, 0).int() - 1
        self.codebook = self.codebook[used.to(self.device)]
        for layer in self.layers:
            layer.indices = new[layer.indices.long()]
        self._count()

    def _near(self) -> torch.Tensor:
        """The motifs nearest to each motif, itself among them: (k, CANDIDATES)."""
        book = self.codebook.cpu()
        faiss = load_faiss()
        if faiss is None:
            chunks = [
                torch.cdist(part, book).topk(CANDIDATES, largest=False).indices for part in torch.split(book, 256)
            ]
            return torch.cat(chunks).to(self.device)
        index = faiss.IndexFlatL2(book.shape[1])
        index.add(book.numpy())
        return torch.from_numpy(index.search(book.numpy(), CANDIDATES)[1]).to(self.device)

    def _solve_codebook(self) -> None:
        """Preconditioned conjugate gradients on J over the motifs, from those that are there."""
        book = self.codebook
        free = torch.ones(len(book), 1, device=self.device)
        if self.zero_motif:
            free[0] = 0
        inverse = self._preconditioner()
        residual = self._descent(book, targets=True) * free
        step = torch.einsum("kst,kt->ks", inverse, residual)
        direction, square = step.clone(), float((residual * step).sum())
        for _ in range(CONJUGATE_STEPS):
            if square <= 0:
                break
            bent = -self._descent(direction, targets=False) * free
            curvature = float((direction * bent).sum())
            if curvature <= 0:
                break
            book = book + square / curvature * direction
            residual = residual - square / curvature * bent
            step = torch.einsum("kst,kt->ks", inverse, residual)
            square, before = float((residual * step).sum()), square
            direction = step + square / before * direction
        if bool(torch.isfinite(book).all()):
            self.codebook = book

    def _descent(self, book: torch.Tensor, *, targets: bool) -> torch.Tensor:
        """Minus half the gradient of J in the motifs (k, s); without targets only what is linear in them."""
        out = torch.zeros_like(book)
        for layer in self.layers:
            indices = layer.indices.to(self.device).long()
            error = -book[indices].reshape(layer.targets.shape)
            if targets:
                error += layer.targets.to(self.device)
            pull = self._times_moments(layer, error) * layer.weights.to(self.device)[:, :, None]
            out.index_add_(0, indices.reshape(-1), pull.reshape(-1, book.shape[1]))
        return out

    def _preconditioner(self) -> torch.Tensor:
        """Inverses of the blocks of J's second derivative that belong to one motif each: (k, s, s)."""
        k, s = self.codebook.shape
        out = torch.zeros(k, s * s, device=self.device)
        for layer in self.layers:
            weights = layer.weights.to(self.device)
            groups, _, width = layer.targets.shape
            indices = layer.indices.to(self.device).long()
            if not layer.correlated:
                flat = weights[:, :, None].expand(-1, -1, width // s).reshape(-1)
                mass = torch.zeros(k, device=self.device).index_add_(0, indices.reshape(-1), flat)
                out += mass[:, None] * torch.eye(s, device=self.device).reshape(1, -1)
                continue
            moments = self.moments[layer.name].to(self.device)
            for j in range(width // s):
                own = moments[:, j * s : j * s + s, j * s : j * s + s].reshape(groups, 1, s * s)
                out.index_add_(0, indices[:, :, j].reshape(-1), (weights[:, :, None] * own).reshape(-1, s * s))
        out = out.reshape(k, s, s)
        size = out.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-30)
        out += 1e-4 * size[:, None, None] * torch.eye(s, device=self.device)
        # A motif that nothing uses has no equation: it stays.
        inverse: torch.Tensor = torch.linalg.inv(out / size[:, None, None])
        return inverse / size[:, None, None]
